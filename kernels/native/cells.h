// Which cells of the cache hold the keys and values of which token, behind which others: a tree.
//
// Two texts share the cells of their common beginning, and a path is found by walking it. Cells stand in a list by last
// use, each of them behind the one before it in its text. So the last of the list always ends a text, and giving it up
// takes nothing away from others.

#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <stdexcept>
#include <vector>

namespace {

inline void require(bool holds, const char *otherwise) {
    if (!holds) throw std::invalid_argument(otherwise);
}

class Cells {
  public:
    static constexpr int NONE = -1;

    // Of `count` cells at most `kept` stay in use once another path needs some.
    Cells(int count, int kept) : kept(kept), cells(count + 1) {
        for (int cell = 0; cell < count; ++cell) unused.push(cell);
        at(NONE) = {};
    }

    int used() const { return all() - static_cast<int>(unused.size()); }

    // All cells from here on are free. The lowest free cell is taken first, so this is low.
    int end() const { return beyond; }

    // Starts a call: its cells are those that are touched or appended from now on.
    void begin() { ++call; }

    // The cell of a token behind another cell (NONE: at the start of a text); NONE if there is none.
    int find(int parent, int token) const {
        int cell = at(parent).child;
        while (cell != NONE && at(cell).token != token) cell = at(cell).sibling;
        return cell;
    }

    // Counts as used now, as the cell before it in its text does.
    void touch(int cell) {
        at(cell).call = call;
        leave(cell);
        enter(cell, at(cell).parent);
    }

    // Whether a call that uses `count` cells only takes those of others.
    bool has_room(size_t count) const { return count <= static_cast<size_t>(most()); }

    // Makes `count` cells free, of those that this call does not use. False if there are not as many.
    bool make_room(int count) {
        while (used() && used() + count > most() && at(at(NONE).newer).call != call) remove(at(NONE).newer);
        return used() + count <= all();
    }

    // A new cell for a token. One must be free.
    int append(int parent, int token) {
        require(!unused.empty(), "no free cell");
        const int cell = unused.top();
        unused.pop();
        beyond = std::max(beyond, cell + 1);
        at(cell) = {token, parent, NONE, at(parent).child, NONE, NONE, call};
        at(parent).child = cell;
        enter(cell, parent);
        return cell;
    }

    // Gives up a cell that nothing stands behind.
    void remove(int cell) {
        int *place = &at(at(cell).parent).child;
        while (*place != cell) place = &at(*place).sibling;
        *place = at(cell).sibling;
        leave(cell);
        at(cell).token = NONE;
        unused.push(cell);
        while (beyond && at(beyond - 1).token == NONE) --beyond;
    }

  private:
    struct Cell {
        int token = NONE, parent = NONE, child = NONE, sibling = NONE, older = NONE, newer = NONE;
        uint64_t call = 0;
    };

    int all() const { return static_cast<int>(cells.size()) - 1; }
    int most() const { return std::min(all(), kept); }
    Cell &at(int cell) { return cells[cell + 1]; }
    const Cell &at(int cell) const { return cells[cell + 1]; }

    void leave(int cell) {
        at(at(cell).newer).older = at(cell).older;
        at(at(cell).older).newer = at(cell).newer;
    }

    // Into the list, just older than another; NONE is the list's head, the newest of all and beyond the oldest.
    void enter(int cell, int newer) {
        at(cell).newer = newer;
        at(cell).older = at(newer).older;
        at(at(newer).older).newer = cell;
        at(newer).older = cell;
    }

    const int kept;
    int beyond = 0;
    uint64_t call = 0;
    std::vector<Cell> cells; // the first one stands for the start of all texts
    std::priority_queue<int, std::vector<int>, std::greater<int>> unused;
};

} // namespace
