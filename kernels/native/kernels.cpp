// The native kernels. Contracts: kernels/README.md; definitions: engine_kernels/numpy_reference.py.

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <deque>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <unordered_map>

#include "rows.h"

namespace nb = nanobind;
using namespace rows;

namespace {

template <typename T> using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T> using In2 = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void require(bool holds, const char *otherwise) {
    if (!holds) throw nb::value_error(otherwise);
}

const uint8_t *flags(const In<bool> &booleans) { return reinterpret_cast<const uint8_t *>(booleans.data()); }

// What a tuple of arrays holds, kept as long as few others are asked for: reading ten arrays of Python costs more
// than most that is done with them. The tuple is kept, too, so that no other one has its address.
template <typename Parsed> std::shared_ptr<const Parsed> parsed(const nb::tuple &fields) {
    constexpr size_t MOST = 16;
    using Kept = std::deque<std::pair<nb::tuple, std::shared_ptr<const Parsed>>>;
    static auto *kept = new Kept; // never destroyed: Python may be gone by then
    for (const auto &[tuple, found] : *kept)
        if (tuple.is(fields)) return found;
    kept->emplace_back(fields, std::make_shared<const Parsed>(fields));
    if (kept->size() > MOST) kept->pop_front();
    return kept->back().second;
}

template <typename T> auto fresh(std::unique_ptr<T[]> values, std::initializer_list<size_t> shape) {
    T *held = values.release();
    nb::capsule owner(held, [](void *p) noexcept { delete[] static_cast<T *>(p); });
    return nb::ndarray<nb::numpy, T>(held, shape, owner);
}

// -- rows -----------------------------------------------------------------------------------------

auto log_softmax(In2<float> logits) {
    const size_t rows = logits.shape(0), vocab = logits.shape(1);
    Blocks::Owned out = blocks().take(rows * vocab);
    {
        nb::gil_scoped_release unlocked;
        std::vector<double> sums(blocks_of(vocab));
        for (size_t row = 0; row < rows; ++row) {
            const float *values = logits.data() + row * vocab;
            const double peak = greatest(values, vocab);
            sums_of_exp(values, vocab, peak, sums.data());
            subtract(values, vocab, peak, log_of_total(sums.data(), sums.size()), out.get() + row * vocab);
        }
    }
    return fresh_rows(std::move(out), {rows, vocab});
}

// exp of a block of the row in the given order, 0 where it is not allowed. False if a place is outside of the row.
INLINE bool weigh_block(const double *row, size_t limit, const int32_t *order, const uint8_t *allowed, size_t size,
                        double *block) {
    uint32_t most = 0; // a negative place is a large one
    for (size_t i = 0; i < size; ++i) most = std::max(most, static_cast<uint32_t>(order[i]));
    if (most >= limit) return false;
    for (size_t i = 0; i < size; ++i) block[i] = row[order[i]];
    for (size_t i = 0; i < size; ++i) block[i] = exp_of(block[i]);
    for (size_t i = 0; i < size; ++i) block[i] = allowed[i] * block[i];
    return true;
}

// Adds to `total` the sum of what it writes, NaN if any of it is.
FAST_CLONES bool weigh(const double *row, size_t limit, const int32_t *order, const uint8_t *allowed, size_t count,
                       double *out, double *total) {
    for (size_t start = 0; start < count; start += BLOCK) {
        const size_t size = std::min(BLOCK, count - start);
        if (!weigh_block(row, limit, order + start, allowed + start, size, out + start)) return false;
        *total += sum(out + start, size);
    }
    return true;
}

// Places in wider integers: those that are outside of the row stay so.
std::vector<int32_t> narrowed(const In<int64_t> &order) {
    std::vector<int32_t> places(order.size());
    for (size_t i = 0; i < places.size(); ++i) {
        const int64_t place = order.data()[i];
        places[i] = place == static_cast<int32_t>(place) ? static_cast<int32_t>(place) : -1;
    }
    return places;
}

auto sorted_weights(In<double> row, In<int32_t> order, In<bool> allowed) {
    const size_t count = order.size();
    require(allowed.size() == count, "order and allowed differ in length");
    std::unique_ptr<double[]> out(new double[count]);
    double total = 0;
    require(weigh(row.data(), row.size(), order.data(), flags(allowed), count, out.get(), &total),
            "order names a place outside of the row");
    require(!std::isnan(total), "a weight is NaN");
    return fresh(std::move(out), {count});
}

auto sorted_weights_wide(In<double> row, In<int64_t> order, In<bool> allowed) {
    std::vector<int32_t> places = narrowed(order);
    return sorted_weights(row, In<int32_t>(places.data(), {places.size()}), allowed);
}

// `starts` ascend from 0. Adds to `total` the sum of all sums.
FAST_CLONES bool weigh_groups(const double *row, size_t limit, const int32_t *order, const uint8_t *allowed,
                              const int64_t *starts, size_t groups, double *sums, double *total) {
    double block[BLOCK];
    const size_t count = starts[groups];
    size_t group = 0;
    for (size_t start = 0; start < count; start += BLOCK) {
        const size_t size = std::min(BLOCK, count - start);
        if (!weigh_block(row, limit, order + start, allowed + start, size, block)) return false;
        for (size_t at = start; at < start + size;) {
            while (static_cast<size_t>(starts[group + 1]) <= at) ++group;
            const size_t end = std::min(start + size, static_cast<size_t>(starts[group + 1]));
            sums[group] += sum(block + (at - start), end - at);
            at = end;
        }
    }
    *total = sum(sums, groups);
    return true;
}

auto sums_of_groups(In<double> row, In<int32_t> order, In<bool> allowed, In<int64_t> starts) {
    require(starts.size() > 0, "the starts do not ascend from 0 to the number of weights");
    const size_t count = order.size(), groups = starts.size() - 1;
    const int64_t *first = starts.data();
    require(first[0] == 0 && static_cast<size_t>(first[groups]) == count &&
                std::is_sorted(first, first + groups + 1),
            "the starts do not ascend from 0 to the number of weights");
    require(allowed.size() == count, "order and allowed differ in length");
    std::unique_ptr<double[]> out(new double[groups]());
    double total = 0;
    require(weigh_groups(row.data(), row.size(), order.data(), flags(allowed), first, groups, out.get(), &total),
            "order names a place outside of the row");
    require(!std::isnan(total), "a weight is NaN");
    return fresh(std::move(out), {groups});
}

auto sums_of_groups_wide(In<double> row, In<int64_t> order, In<bool> allowed, In<int64_t> starts) {
    std::vector<int32_t> places = narrowed(order);
    return sums_of_groups(row, In<int32_t>(places.data(), {places.size()}), allowed, starts);
}

// -- sums -----------------------------------------------------------------------------------------

FAST_CLONES double sum_of(const double *values, size_t count) { return sum(values, count); }

// Adds to `sums` (256,) the sums of `weights` by byte, times `scale`. The bytes ascend.
void add_sums_of(const double *weights, const uint8_t *bytes, size_t count, double scale, double *sums) {
    for (size_t start = 0; start < count;) {
        const uint8_t byte = bytes[start];
        size_t end = start + 1;
        while (end < count && bytes[end] == byte) ++end;
        require(end == count || bytes[end] > byte, "the bytes do not ascend");
        sums[byte] += scale * sum_of(weights + start, end - start);
        start = end;
    }
}

void add_sums(const In<double> &weights, const In<uint8_t> &bytes, double scale, double *sums) {
    require(weights.size() == bytes.size(), "weights and bytes differ in length");
    add_sums_of(weights.data(), bytes.data(), bytes.size(), scale, sums);
}

auto sums_by_byte(In<double> weights, In<uint8_t> bytes) {
    std::unique_ptr<double[]> out(new double[256]());
    add_sums(weights, bytes, 1.0, out.get());
    return fresh(std::move(out), {256});
}

auto two_greatest(In<double> values) {
    const size_t count = values.size();
    require(count >= 2, "there are no two values");
    const double *all = values.data();
    const size_t place = std::max_element(all, all + count) - all;
    double next = -std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < count; ++i)
        if (i != place) next = std::max(next, all[i]);
    return nb::make_tuple(place, all[place], next);
}

// -- canonical tokens -----------------------------------------------------------------------------

FAST_CLONES bool choose(const int8_t *verdicts, size_t limit, const int16_t *groups, const uint8_t *free,
                        const uint8_t *reachable, size_t count, uint8_t *out) {
    uint16_t last = 0;
    for (size_t i = 0; i < count; ++i) last = std::max(last, static_cast<uint16_t>(groups[i]));
    if (count && last >= limit) return false;
    for (size_t i = 0; i < count; ++i) out[i] = static_cast<uint8_t>(verdicts[groups[i]]);
    for (size_t i = 0; i < count; ++i) out[i] = ((out[i] >> 1) | (out[i] & free[i])) & reachable[i];
    return true;
}

auto choose_tokens(In<int8_t> verdicts, In<int16_t> groups, In<bool> free, In<bool> reachable) {
    const size_t count = groups.size();
    for (size_t i = 0; i < verdicts.size(); ++i)
        require(verdicts.data()[i] >= 0 && verdicts.data()[i] <= 2, "a verdict is not 0, 1 or 2");
    require(free.size() == count && reachable.size() == count, "groups, free and reachable differ in length");
    std::unique_ptr<bool[]> out(new bool[count]);
    uint8_t *chosen = reinterpret_cast<uint8_t *>(out.get());
    require(choose(verdicts.data(), verdicts.size(), groups.data(), flags(free), flags(reachable), count, chosen),
            "a group has no verdict");
    return fresh(std::move(out), {count});
}

// The records of engine_kernels.numpy_reference.Forest, in its order of fields.
struct TokenRecord {
    int32_t right, time, wait_left, first_child, subtree_end, has_late_child;
};
struct Derivation {
    int32_t rank, right, right_time, right_row, time, wait_right, preorder, subtree_end, token;
};
constexpr int32_t NEVER = std::numeric_limits<int32_t>::max();

// With tables that answer for one pair alone: that touches less than all that may not follow a token.
struct Forest {
    const TokenRecord *tokens;
    const Derivation *derivations;
    const int32_t *rows;
    size_t size;
    nb::tuple owner;

    explicit Forest(const nb::tuple &fields) : owner(fields) {
        const auto token_records = nb::cast<In2<int32_t>>(fields[0]), derived = nb::cast<In2<int32_t>>(fields[1]);
        const auto by_preorder = nb::cast<In<int32_t>>(fields[2]);
        require(token_records.shape(1) * sizeof(int32_t) == sizeof(TokenRecord) && token_records.shape(0) > 0 &&
                    derived.shape(1) * sizeof(int32_t) == sizeof(Derivation),
                "these are no records of a forest");
        tokens = reinterpret_cast<const TokenRecord *>(token_records.data());
        derivations = reinterpret_cast<const Derivation *>(derived.data());
        rows = by_preorder.data();
        size = token_records.shape(0) - 1;
        index(derived.shape(0), by_preorder.size());
    }

    // Whether a merge crosses the boundary of two tokens in one word: the claim on pairs, walked back in time.
    bool crosses(int64_t left, size_t right_row) const {
        require(left >= 0 && static_cast<size_t>(left) < size, "there is no such left token");
        int32_t a = static_cast<int32_t>(left), b = token_of_row[right_row];
        for (int64_t limit = std::numeric_limits<int64_t>::max(); b >= 0;) {
            const int32_t merged = find(a, b), last = formed_by[b], time = last < 0 ? -1 : derivations[last].time;
            if (merged >= 0 && derivations[merged].rank < limit) return true;
            if (tokens[a].time > time) {
                limit = tokens[a].wait_left, a = tokens[a].right;
            } else if (last >= 0) {
                limit = int64_t{derivations[last].wait_right} + 1, b = left_of[last];
            } else {
                break;
            }
        }
        return false;
    }

    // Whether the part, which stands in `row`, or a token that begins with it may be one of rows [low, high).
    bool may_lead_into(int32_t part, int32_t row, int32_t low, int32_t high) const {
        return row < high && std::max(row, last_row_of[part]) >= low;
    }

  private:
    std::vector<int32_t> left_of;      // by derivation
    std::vector<int32_t> formed_by;    // the derivation of each token, -1 for none
    std::vector<int32_t> token_of_row; // of those that are part of a derivation, else -1
    std::vector<int32_t> last_row_of;  // the last row of all that begin with a token, their left parts' left parts; -1 if none does
    std::vector<int32_t> by_parts;     // derivations by a hash of their parts, -1 where there is none

    void index(size_t derived, size_t count) {
        left_of.resize(derived), formed_by.assign(size, -1), token_of_row.assign(count, -1), last_row_of.assign(size, -1);
        size_t room = 2;
        while (room < 2 * derived) room *= 2;
        by_parts.assign(room, -1);
        const auto note = [&](int32_t row, int32_t token) {
            if (row >= 0) token_of_row[row] = token;
        };
        for (size_t left = 0; left < size; ++left)
            for (int32_t k = tokens[left].first_child; k < tokens[left + 1].first_child; ++k) {
                const Derivation &d = derivations[k];
                left_of[k] = static_cast<int32_t>(left), formed_by[d.token] = k;
                note(rows[d.preorder], d.token), note(d.right_row, d.right);
                size_t place = hash(left_of[k], d.right);
                while (by_parts[place] >= 0) place = (place + 1) & (room - 1);
                by_parts[place] = k;
            }
        index_last_rows(derived, count);
    }

    // A token stands before those that are formed from it in the preorder.
    void index_last_rows(size_t derived, size_t count) {
        std::vector<int32_t> formed_at(count, -1); // the derivation of the token of each preorder number
        for (size_t k = 0; k < derived; ++k) formed_at[derivations[k].preorder] = static_cast<int32_t>(k);
        for (size_t number = count; number-- > 0;) {
            if (formed_at[number] < 0) continue;
            int32_t &last = last_row_of[derivations[formed_at[number]].token], &before = last_row_of[left_of[formed_at[number]]];
            last = std::max(last, rows[number]);
            before = std::max(before, last);
        }
    }

    size_t hash(int32_t left, int32_t right) const {
        const uint64_t mixed = ((uint64_t{static_cast<uint32_t>(left)} << 32) + right) * 0x9E3779B97F4A7C15u;
        return (mixed >> 32) & (by_parts.size() - 1);
    }

    int32_t find(int32_t left, int32_t right) const {
        size_t place = hash(left, right);
        for (int32_t k; (k = by_parts[place]) >= 0; place = (place + 1) & (by_parts.size() - 1))
            if (left_of[k] == left && derivations[k].right == right) return k;
        return -1;
    }
};

struct RowRange {
    int32_t low, high;
};

template <typename Forbid>
void forbid_behind(const Forest &f, int32_t part, int32_t time, int32_t wait, RowRange within, const Forbid &forbid) {
    const auto forbid_all = [&](int32_t from, int32_t to) {
        for (int32_t number = from; number < to; ++number) forbid(f.rows[number]);
    };
    const int32_t own_time = f.tokens[part].time;
    const Derivation *crossing = f.derivations + f.tokens[part].first_child,
                     *crossing_end = f.derivations + f.tokens[part + 1].first_child;
    for (; crossing < crossing_end; ++crossing) {
        if (!(crossing->rank < wait && crossing->right_time < time)) continue;
        if (!f.may_lead_into(crossing->right, crossing->right_row, within.low, within.high)) continue;
        forbid(crossing->right_row);
        const TokenRecord &s = f.tokens[crossing->right];
        const Derivation *end = f.derivations + f.tokens[crossing->right + 1].first_child;
        const Derivation *child =
            std::lower_bound(f.derivations + s.first_child, end, std::max(crossing->rank, own_time),
                             [](const Derivation &d, int32_t since) { return d.time < since; });
        if (child == end) continue;
        int32_t from = child->preorder;
        for (; s.has_late_child && child < end; ++child) {
            if (!(child->wait_right < crossing->rank)) continue;
            forbid_all(from, child->preorder);
            from = child->subtree_end;
        }
        forbid_all(from, s.subtree_end);
    }
}

// Calls `forbid` with the row of each token of rows `within` that may not follow `left` in one word, and maybe with others
// that may not; with -1 for one without a row.
template <typename Forbid> void forbid_pairs(const Forest &f, int64_t left, RowRange within, const Forbid &forbid) {
    require(left >= 0 && static_cast<size_t>(left) < f.size, "there is no such left token");
    int32_t parent = static_cast<int32_t>(left);
    forbid_behind(f, parent, NEVER, NEVER, within, forbid);
    for (int32_t part; (part = f.tokens[parent].right) >= 0; parent = part)
        forbid_behind(f, part, f.tokens[parent].time, f.tokens[parent].wait_left, within, forbid);
}

auto pair_mask(int64_t left, nb::tuple forest, size_t rows) {
    std::unique_ptr<bool[]> allowed(new bool[rows]);
    std::fill(allowed.get(), allowed.get() + rows, true);
    forbid_pairs(*parsed<Forest>(forest), left, {0, NEVER}, [&](int32_t row) {
        if (row >= 0) allowed[row] = false;
    });
    return fresh(std::move(allowed), {rows});
}

#include "successors.h"
#include "automaton.h"
#include "likely.h"
#include "contexts.h"
#include "frontier.h"

// -- byte pair encoding ---------------------------------------------------------------------------

struct Candidate {
    int32_t rank, place, left, right, merged;
    bool operator>(const Candidate &other) const {
        return rank != other.rank ? rank > other.rank : place > other.place;
    }
};

auto merge_symbols(In<int32_t> start, In<int64_t> keys, In<int32_t> ranks, In<int32_t> merged) {
    require(ranks.size() == keys.size() && merged.size() == keys.size(), "keys, ranks and merged differ in length");
    const int32_t count = static_cast<int32_t>(start.size());
    std::vector<int32_t> symbols(start.data(), start.data() + count), following(count), preceding(count);
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<Candidate>> heap;
    const auto consider = [&](int32_t place, int32_t next) {
        const int64_t key = (static_cast<int64_t>(symbols[place]) << 32) + symbols[next];
        const int64_t *end = keys.data() + keys.size(), *found = std::lower_bound(keys.data(), end, key);
        if (found == end || *found != key) return;
        const size_t k = found - keys.data();
        heap.push({ranks.data()[k], place, symbols[place], symbols[next], merged.data()[k]});
    };
    for (int32_t i = 0; i < count; ++i) {
        preceding[i] = i - 1;
        following[i] = i + 1 < count ? i + 1 : -1;
        if (i + 1 < count) consider(i, i + 1);
    }
    constexpr int32_t GONE = -1;
    while (!heap.empty()) {
        const Candidate best = heap.top();
        heap.pop();
        const int32_t place = best.place, next = following[place];
        if (next < 0 || symbols[place] != best.left || symbols[next] != best.right) continue;
        symbols[place] = best.merged;
        symbols[next] = GONE;
        following[place] = following[next];
        following[next] = -1;
        if (following[place] >= 0) preceding[following[place]] = place;
        if (preceding[place] >= 0) consider(preceding[place], place);
        if (following[place] >= 0) consider(place, following[place]);
    }
    symbols.erase(std::remove(symbols.begin(), symbols.end(), GONE), symbols.end());
    std::unique_ptr<int32_t[]> out(new int32_t[symbols.size()]);
    std::copy(symbols.begin(), symbols.end(), out.get());
    return fresh(std::move(out), {symbols.size()});
}

} // namespace

void define_transformer(nb::module_ &module); // transformer.cpp

NB_MODULE(_native, module) {
    nb::set_leak_warnings(false); // what is remembered is never destroyed: Python may be gone by then
    module.attr("CONTRACT") = 8; // as in numpy_reference.py
    module.def("log_softmax", &log_softmax, nb::arg("logits"));
    module.def("likeliest", &likeliest, nb::arg("row"));
    // An order of int32 is taken as it is; any other integers are widened, so that none wraps around.
    module.def("sorted_weights", &sorted_weights, nb::arg("row"), nb::arg("order").noconvert(), nb::arg("allowed"));
    module.def("sorted_weights", &sorted_weights_wide, nb::arg("row"), nb::arg("order"), nb::arg("allowed"));
    module.def("sums_of_groups", &sums_of_groups, nb::arg("row"), nb::arg("order").noconvert(), nb::arg("allowed"),
               nb::arg("starts"));
    module.def("sums_of_groups", &sums_of_groups_wide, nb::arg("row"), nb::arg("order"), nb::arg("allowed"),
               nb::arg("starts"));
    module.def("sums_by_byte", &sums_by_byte, nb::arg("weights"), nb::arg("bytes_"));
    module.def("two_greatest", &two_greatest, nb::arg("values"));
    module.def("choose_tokens", &choose_tokens, nb::arg("verdicts"), nb::arg("groups"), nb::arg("free"),
               nb::arg("reachable"));
    module.def("successor_mask", &successor_mask, nb::arg("rule"), nb::arg("low"), nb::arg("high"));
    module.def("allowed_rows", &allowed_rows, nb::arg("successors"), nb::arg("low"), nb::arg("high"));
    module.def("pair_mask", &pair_mask, nb::arg("left"), nb::arg("forest"), nb::arg("rows"));
    module.def("merge_symbols", &merge_symbols, nb::arg("symbols"), nb::arg("keys"), nb::arg("ranks"),
               nb::arg("merged"));
    define_frontier(module);
    define_transformer(module);
}
