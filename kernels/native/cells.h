// Which cells of the cache hold which path.

#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

namespace {

inline void require(bool holds, const char *otherwise) {
    if (!holds) throw std::invalid_argument(otherwise);
}

class Cells {
  public:
    Cells(int count, int sequences) : users(count, 0), paths(sequences) {
        for (int cell = count; cell--;) unused.push_back(cell);
    }

    int free() const { return static_cast<int>(unused.size()); }
    const std::vector<int32_t> &path(int sequence) const { return paths.at(sequence); }

    // A new cell at the end of each of the sequences.
    int append(const int32_t *sequences, int count, int position) {
        for (int i = 0; i < count; ++i)
            require(int(path(sequences[i]).size()) == position, "a token that does not continue its sequence");
        require(count > 0 && !unused.empty(), "no sequence for a token, or no free cell");
        const int cell = unused.back();
        unused.pop_back();
        for (int i = 0; i < count; ++i) paths[sequences[i]].push_back(cell);
        users[cell] = count;
        return cell;
    }

    void remove(int sequence, int start) {
        auto &path = paths.at(sequence);
        while (int(path.size()) > start) {
            if (!--users[path.back()]) unused.push_back(path.back());
            path.pop_back();
        }
    }

    void share(int source, int target, int length) {
        require(length <= int(path(source).size()) && path(target).empty(), "nothing to share, or no room for it");
        paths[target].assign(paths[source].begin(), paths[source].begin() + length);
        for (int cell : paths[target]) ++users[cell];
    }

  private:
    std::vector<int32_t> users, unused;
    std::vector<std::vector<int32_t>> paths;
};

} // namespace
