// What the heads of a token see of the cells of its path, a segment of it at a time: so threads share a path, and
// tokens that are evaluated together read a segment from a near cache. Segments begin at multiples of SEGMENT, so sums
// are taken in the same order in any batch.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "avx2.h"

namespace {

constexpr int SEGMENT = 128;  // cells of a path, from a multiple on, that are taken together
constexpr int RUN = 16;       // cells that all tokens look at, one after the other, while memory gets the next ones
constexpr int NEIGHBOURS = 4; // cells whose scores are computed together
constexpr int HEADS = 3;      // computed together: with NEIGHBOURS their sums just fit the registers
constexpr size_t segments_of(int cells) { return (size_t(cells) + SEGMENT - 1) / SEGMENT; }

// Keys and values by cell. SEGMENT cells are a block, in which those of all layers and heads stand one after the other: so
// what one head holds of a segment is one stretch of memory, and cells that were never used take none.
class Cache {
  public:
    // Where one head of one layer keeps its own; `place` is that of a cell.
    struct Head {
        float *first;
        int dimension;

        float *key(size_t place) const { return first + place; }
        float *value(size_t place) const { return key(place) + size_t(SEGMENT) * dimension; }
    };

    Cache(int layers, int heads, int cells, int dimension)
        : heads(heads), dimension(dimension), block(size_t(layers) * heads * 2 * SEGMENT * dimension),
          numbers(reinterpret_cast<float *>(arena.take(segments_of(cells) * block * sizeof(float)))) {}

    Head head(int layer, int head) const {
        return {numbers + (size_t(layer) * heads + head) * 2 * SEGMENT * dimension, dimension};
    }

    // Of a cell, the same for all layers and heads.
    size_t place(int cell) const { return cell / SEGMENT * block + cell % SEGMENT * size_t(dimension); }

    // Gives the memory of the blocks behind the cell `end` back, of those up to `last`.
    void release(int end, int last) const { give_back(numbers + segments_of(end) * block, numbers + segments_of(last) * block); }

  private:
    Arena arena;
    const int heads, dimension;
    const size_t block;
    float *const numbers;
};

// A token that looks at a segment with all heads that share its keys and values.
struct Viewer {
    const float *queries;
    const size_t *places; // of the cells of the token's path in this segment
    int count;
    float *sights;
};

// Asks memory for what a viewer looks at: its keys, then its values, the next run's while this one's are computed with, and
// not many lines at once: memory answers a few at a time.
class Ahead {
  public:
    Ahead(const Cache::Head &held, const Viewer &viewer) : held(held), viewer(viewer) {}

    // A run begins behind `first` keys and values; in it, `more` will be called so many times.
    void begin_run(int first, int calls_in_run) {
        end = std::min(first + 2 * RUN, 2 * viewer.count);
        calls = calls_in_run;
        due = 0;
    }

    void more() {
        for (due += PACE; due >= calls && at < end; due -= calls, ++at) {
            const bool is_key = at < viewer.count;
            const size_t place = viewer.places[is_key ? at : at - viewer.count];
            const float *numbers = is_key ? held.key(place) : held.value(place);
            for (int d = 0; d < held.dimension; d += LINE / sizeof(float)) fetch(numbers + d);
        }
    }

  private:
    static constexpr int PACE = RUN + RUN / 4; // keys or values a run: a little faster than they are used
    const Cache::Head &held;
    const Viewer &viewer;
    int at = RUN; // the key or value that is next
    int end = 0, calls = 1, due = 0;
};

// The sums of four registers.
AVX2_INLINE __m128 four_sums(const __m256 *v) {
    const __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    return _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
}

// query · key · scale of COUNT heads for at most RUN cells, SEGMENT numbers from one head to the next.
template <int COUNT>
AVX2 void score(const float *queries, const Cache::Head &held, const size_t *places, int count, float scale, float *scores,
                Ahead &ahead) {
    for (int at = 0; at < count; at += NEIGHBOURS) {
        ahead.more();
        __m256 products[COUNT][NEIGHBOURS];
        const float *keys[NEIGHBOURS];
        for (int i = 0; i < NEIGHBOURS; ++i) {
            keys[i] = held.key(places[std::min(at + i, count - 1)]);
            for (int head = 0; head < COUNT; ++head) products[head][i] = _mm256_setzero_ps();
        }
        for (int d = 0; d < held.dimension; d += LANES) {
            __m256 asked[COUNT];
            for (int head = 0; head < COUNT; ++head) asked[head] = _mm256_loadu_ps(queries + head * held.dimension + d);
            for (int i = 0; i < NEIGHBOURS; ++i) {
                const __m256 key = _mm256_loadu_ps(keys[i] + d);
                for (int head = 0; head < COUNT; ++head)
                    products[head][i] = _mm256_fmadd_ps(asked[head], key, products[head][i]);
            }
        }
        for (int head = 0; head < COUNT; ++head)
            _mm_storeu_ps(scores + head * SEGMENT + at, _mm_mul_ps(four_sums(products[head]), _mm_set1_ps(scale)));
    }
}

// e^(score - greatest) in place. What follows the scores up to whole LANES is set to 0.
AVX2 void exponentiate(float *scores, int count, float *greatest, float *sum) {
    for (int at = count; at % LANES; ++at) scores[at] = -INFINITY;
    __m256 most = _mm256_set1_ps(-INFINITY);
    for (int at = 0; at < count; at += LANES) most = _mm256_max_ps(most, _mm256_loadu_ps(scores + at));
    *greatest = greatest_of(most);
    __m256 total = _mm256_setzero_ps();
    for (int at = 0; at < count; at += LANES) {
        const __m256 found = _mm256_loadu_ps(scores + at);
        const __m256 beyond = _mm256_cmp_ps(found, _mm256_set1_ps(-INFINITY), _CMP_EQ_OQ);
        const __m256 share = _mm256_andnot_ps(beyond, exp_of(_mm256_sub_ps(found, _mm256_set1_ps(*greatest))));
        _mm256_storeu_ps(scores + at, share);
        total = _mm256_add_ps(total, share);
    }
    *sum = sum_of(total);
}

// Adds shares · values of COUNT heads over at most RUN cells: the numbers of a value for each, `apart` in `sums`.
template <int COUNT>
AVX2 void gather(const float *shares, const Cache::Head &held, const size_t *places, int count, float *sums, int apart,
                 Ahead &ahead) {
    constexpr int WIDTH = BLOCK / LANES;
    for (int first = 0; first < held.dimension; first += BLOCK) {
        float *to = sums + first;
        __m256 sum[COUNT][WIDTH];
        for (int head = 0; head < COUNT; ++head)
            for (int i = 0; i < WIDTH; ++i) sum[head][i] = _mm256_loadu_ps(to + head * apart + LANES * i);
        for (int at = 0; at < count; ++at) {
            if (at % NEIGHBOURS == 0) ahead.more();
            const float *value = held.value(places[at]) + first;
            __m256 share[COUNT];
            for (int head = 0; head < COUNT; ++head) share[head] = _mm256_set1_ps(shares[head * SEGMENT + at]);
            for (int i = 0; i < WIDTH; ++i) {
                const __m256 part = _mm256_loadu_ps(value + LANES * i);
                for (int head = 0; head < COUNT; ++head) sum[head][i] = _mm256_fmadd_ps(share[head], part, sum[head][i]);
            }
        }
        for (int head = 0; head < COUNT; ++head)
            for (int i = 0; i < WIDTH; ++i) _mm256_storeu_ps(to + head * apart + LANES * i, sum[head][i]);
    }
}

// What a head sees of a segment is its *sight*: the sum of the values weighted by e^(score - greatest), then the
// greatest score and the sum of the weights.
constexpr int sight_floats(int dimension) { return dimension + LANES; }

// Calls look(COUNT, head) for all heads, COUNT (known to the compiler) from `head` on at a time.
template <typename Look> void each_few_heads(int heads, const Look &look) {
    static_assert(HEADS == 3, "what is left over are one or two heads");
    int head = 0;
    for (; head + HEADS <= heads; head += HEADS) look(std::integral_constant<int, HEADS>(), head);
    if (heads - head == 2) look(std::integral_constant<int, 2>(), head);
    if (heads - head == 1) look(std::integral_constant<int, 1>(), head);
}

// What the viewers see of a segment of at most SEGMENT cells; sights of heads are `apart`. `shares` has SEGMENT numbers
// for each head of each viewer.
inline void see(const std::vector<Viewer> &viewers, const Cache::Head &held, int heads, int apart, float *shares) {
    const float scale = 1 / std::sqrt(float(held.dimension));
    const Viewer &farthest = *std::max_element(viewers.begin(), viewers.end(),
                                               [](const Viewer &a, const Viewer &b) { return a.count < b.count; });
    const int looks = int(viewers.size()) * ((heads + HEADS - 1) / HEADS) * (RUN / NEIGHBOURS); // at a run's neighbours
    Ahead ahead(held, farthest);
    const auto shares_of = [&](size_t viewer, int head) { return shares + (viewer * heads + head) * SEGMENT; };
    // Calls look(COUNT, viewer's number, head, first, count) for all runs of cells, all viewers and heads for each.
    const auto each_run = [&](int before, int calls, const auto &look) {
        for (int first = 0; first < farthest.count; first += RUN) {
            ahead.begin_run(before + first, calls);
            for (size_t number = 0; number < viewers.size(); ++number) {
                const int count = std::min(RUN, viewers[number].count - first);
                if (count > 0) each_few_heads(heads, [&](auto few, int head) { look(few, number, head, first, count); });
            }
        }
    };
    each_run(0, looks, [&](auto few, size_t number, int head, int first, int count) {
        score<few()>(viewers[number].queries + head * held.dimension, held, viewers[number].places + first, count, scale,
                     shares_of(number, head) + first, ahead);
    });
    for (size_t number = 0; number < viewers.size(); ++number)
        for (int head = 0; head < heads; ++head) {
            float *sight = viewers[number].sights + head * apart;
            std::fill(sight, sight + held.dimension, 0.0f);
            exponentiate(shares_of(number, head), viewers[number].count, sight + held.dimension, sight + held.dimension + 1);
        }
    each_run(farthest.count, looks * held.dimension / BLOCK, [&](auto few, size_t number, int head, int first, int count) {
        gather<few()>(shares_of(number, head) + first, held, viewers[number].places + first, count,
                      viewers[number].sights + head * apart, apart, ahead);
    });
}

// softmax(query · keys) · values of a head over a whole path, from what it sees of the path's segments.
AVX2 void join(const float *sights, int segments, int dimension, float *output) {
    const int floats = sight_floats(dimension);
    float most = -INFINITY, total = 0;
    for (int i = 0; i < segments; ++i) most = std::max(most, sights[i * floats + dimension]);
    std::fill(output, output + dimension, 0.0f);
    for (int i = 0; i < segments; ++i, sights += floats) {
        const float share = std::exp(sights[dimension] - most);
        total += share * sights[dimension + 1];
        for (int d = 0; d < dimension; ++d) output[d] += share * sights[d];
    }
    for (int d = 0; d < dimension; ++d) output[d] /= total;
}

} // namespace
