// What is to be evaluated of a tree of tokens behind a context, and which cells each token sees.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cells.h"

namespace {

// A tree behind a context, as engine/tree.py has it, and of which nodes the rows are wanted (-1: of the context's end).
struct Question {
    std::vector<int32_t> context, tokens, parents, wanted;
};

// A token to evaluate; `is_new`: its cell holds no keys and values yet.
struct Step {
    int32_t token, position, cell, line;
    bool is_new, is_wanted;
};

class Plan {
  public:
    Plan(int cells, int kept) : cells(cells, kept), lines(1) {}

    int used_cells() const { return cells.used(); }
    int end_of_cells() const { return cells.end(); }
    int left() const { return static_cast<int>(steps.size()) - done; }
    const Step *next() const { return steps.data() + done; }

    // The cells of a step's path, by position; its own and those before it mean something.
    const int32_t *path(const Step &step) const { return lines[step.line].data(); }

    // The cells of the beginning of a path that is in the cache; none while what they hold may be evaluated still.
    std::vector<int32_t> resident(const std::vector<int32_t> &path) const {
        std::vector<int32_t> found;
        for (int32_t token : path) {
            const int cell = left() ? Cells::NONE : cells.find(end_of(found), token);
            if (cell == Cells::NONE) break;
            found.push_back(cell);
        }
        return found;
    }

    // Gives each token that is not resident a cell; those and the wanted ones are the steps, parents first.
    void begin(const Question &question) {
        give_up_rest();
        const int length = static_cast<int>(question.context.size()), nodes = static_cast<int>(question.tokens.size());
        require(static_cast<int>(question.parents.size()) == nodes, "tokens and parents of different number");
        for (int node = 0; node < nodes; ++node) require(question.parents[node] < node, "a parent behind its child");
        is_wanted.assign(nodes + 1, false);
        for (int node : question.wanted) is_wanted[node + 1] = true;
        require(length || !is_wanted[0], "a row after no token at all");

        const int found = find(question);
        const auto missing = std::count(cell_of.begin(), cell_of.end(), Cells::NONE);
        require(cells.make_room(length - found + static_cast<int>(missing)), "no free cell");
        std::vector<int32_t> &trunk = lines[0];
        for (int at = found; at < length; ++at) trunk.push_back(cells.append(end_of(trunk), question.context[at]));
        for (int at = std::min<int>(found, length - is_wanted[0]); at < length; ++at)
            steps.push_back({question.context[at], at, trunk[at], 0, at >= found, at + 1 == length && is_wanted[0]});
        line_of.resize(nodes);
        position_of.resize(nodes);
        for (int node = 0; node < nodes; ++node) add(question, node);
    }

    void evaluated(int count) { done += count; }

    // The cells of steps that were not evaluated hold nothing.
    void give_up_rest() {
        for (int at = static_cast<int>(steps.size()); at-- > done;)
            if (steps[at].is_new) cells.remove(steps[at].cell), last_context.clear();
        steps.clear();
        done = 0;
    }

  private:
    static int end_of(const std::vector<int32_t> &line) { return line.empty() ? Cells::NONE : line.back(); }

    // The resident beginning of the context, into the first line, and the resident nodes. Returns the former's length.
    // What the context shares with the one before it is resident, and the newest in use: it stays so, if there is room for
    // all of the question.
    int find(const Question &question) {
        cells.begin();
        lines_used = 1;
        std::vector<int32_t> &trunk = lines[0];
        const auto &context = question.context;
        const bool has_room = cells.has_room(context.size() + question.tokens.size());
        const size_t most = has_room ? std::min({trunk.size(), last_context.size(), context.size()}) : 0;
        const size_t shared = std::mismatch(context.begin(), context.begin() + most, last_context.begin()).first - context.begin();
        trunk.resize(shared);
        last_context = context;
        for (size_t at = shared; at < context.size(); ++at) {
            const int cell = cells.find(end_of(trunk), context[at]);
            if (cell == Cells::NONE) break;
            trunk.push_back(cell);
            cells.touch(cell);
        }
        const bool is_whole = trunk.size() == question.context.size();
        cell_of.assign(question.tokens.size(), Cells::NONE);
        for (size_t node = 0; node < cell_of.size(); ++node) {
            const int parent = question.parents[node];
            if (parent < 0 ? is_whole : cell_of[parent] != Cells::NONE)
                cell_of[node] = cells.find(parent < 0 ? end_of(trunk) : cell_of[parent], question.tokens[node]);
            if (cell_of[node] != Cells::NONE) cells.touch(cell_of[node]);
        }
        return static_cast<int>(trunk.size());
    }

    // Goes on with the parent's line if that ends with the parent, else begins another like it.
    void add(const Question &question, int node) {
        const int parent = question.parents[node];
        const int position = parent < 0 ? static_cast<int>(question.context.size()) : position_of[parent] + 1;
        int line = parent < 0 ? 0 : line_of[parent];
        if (static_cast<int>(lines[line].size()) > position) {
            if (lines_used == static_cast<int>(lines.size())) lines.emplace_back();
            lines[lines_used].assign(lines[line].begin(), lines[line].begin() + position);
            line = lines_used++;
        }
        const bool is_new = cell_of[node] == Cells::NONE, wanted = is_wanted[node + 1];
        if (is_new) cell_of[node] = cells.append(end_of(lines[line]), question.tokens[node]);
        lines[line].push_back(cell_of[node]);
        line_of[node] = line;
        position_of[node] = position;
        if (is_new || wanted) steps.push_back({question.tokens[node], position, cell_of[node], line, is_new, wanted});
    }

    Cells cells;
    std::vector<Step> steps;
    int done = 0, lines_used = 1;
    std::vector<std::vector<int32_t>> lines; // runs of cells; the first one is the context's
    std::vector<int32_t> last_context;       // that the first line begins with, as far as it is that long
    std::vector<int32_t> cell_of, line_of, position_of; // by node
    std::vector<bool> is_wanted;                        // by node + 1
};

} // namespace
