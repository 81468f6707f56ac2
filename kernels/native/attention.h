// What the heads of a token see of the cells of its path, a segment of it at a time: so threads share a path, and
// tokens that are evaluated together read a segment from a near cache. Segments begin at multiples of SEGMENT, so sums
// are taken in the same order in any batch.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "avx2.h"

namespace {

constexpr int SEGMENT = 128;  // cells of a path, from a multiple on, that are taken together
constexpr int NEIGHBOURS = 4; // cells whose scores are computed together
constexpr int HEADS = 3;      // computed together: with NEIGHBOURS their sums just fit the registers
constexpr size_t segments_of(int cells) { return (size_t(cells) + SEGMENT - 1) / SEGMENT; }

// Keys and values by cell. SEGMENT cells are a block, in which those of all layers and heads stand one after the other: so
// what one head holds of a segment is one stretch of memory, and cells that were never used take none.
class Cache {
  public:
    // Where one head of one layer keeps its own.
    struct Head {
        float *first;
        size_t block; // numbers from one block to the next
        int dimension;

        float *key(int cell) const { return first + cell / SEGMENT * block + cell % SEGMENT * size_t(dimension); }
        float *value(int cell) const { return key(cell) + size_t(SEGMENT) * dimension; }
    };

    Cache(int layers, int heads, int cells, int dimension)
        : heads(heads), dimension(dimension), block(size_t(layers) * heads * 2 * SEGMENT * dimension),
          numbers(reinterpret_cast<float *>(arena.take(segments_of(cells) * block * sizeof(float)))) {}

    Head head(int layer, int head) const {
        return {numbers + (size_t(layer) * heads + head) * 2 * SEGMENT * dimension, block, dimension};
    }

    // Gives the memory of the blocks behind the cell `end` back, of those up to `last`.
    void release(int end, int last) const { give_back(numbers + segments_of(end) * block, numbers + segments_of(last) * block); }

  private:
    Arena arena;
    const int heads, dimension;
    const size_t block;
    float *const numbers;
};

// The sums of four registers.
AVX2_INLINE __m128 four_sums(const __m256 *v) {
    const __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    return _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
}

// query · keys · scale of COUNT heads for a run of cells, SEGMENT numbers for each head. Finds the greatest of each.
template <int COUNT>
AVX2 void score(const float *queries, const float *const *keys, int count, int dimension, float scale, float *scores,
                float *most) {
    __m128 greatest[COUNT];
    for (int head = 0; head < COUNT; ++head) greatest[head] = _mm_set1_ps(-INFINITY);
    for (int at = 0; at < count; at += NEIGHBOURS) {
        __m256 products[COUNT][NEIGHBOURS];
        const float *key[NEIGHBOURS];
        for (int i = 0; i < NEIGHBOURS; ++i) {
            key[i] = keys[std::min(at + i, count - 1)];
            for (int head = 0; head < COUNT; ++head) products[head][i] = _mm256_setzero_ps();
        }
        for (int d = 0; d < dimension; d += LANES) {
            __m256 asked[COUNT];
            for (int head = 0; head < COUNT; ++head) asked[head] = _mm256_loadu_ps(queries + head * dimension + d);
            for (int i = 0; i < NEIGHBOURS; ++i) {
                const __m256 held = _mm256_loadu_ps(key[i] + d);
                for (int head = 0; head < COUNT; ++head)
                    products[head][i] = _mm256_fmadd_ps(asked[head], held, products[head][i]);
            }
        }
        for (int head = 0; head < COUNT; ++head) {
            const __m128 found = _mm_mul_ps(four_sums(products[head]), _mm_set1_ps(scale));
            _mm_storeu_ps(scores + head * SEGMENT + at, found);
            greatest[head] = _mm_max_ps(greatest[head], found); // lanes beyond the end repeat the last cell
        }
    }
    for (int head = 0; head < COUNT; ++head) most[head] = greatest_of(_mm256_set_m128(greatest[head], greatest[head]));
}

// e^(score - greatest) in place; returns their sum. What follows the scores up to whole LANES is set to 0.
AVX2 float exponentiate(float *scores, int count, float greatest) {
    for (int at = count; at % LANES; ++at) scores[at] = -INFINITY;
    __m256 total = _mm256_setzero_ps();
    for (int at = 0; at < count; at += LANES) {
        const __m256 found = _mm256_loadu_ps(scores + at);
        const __m256 beyond = _mm256_cmp_ps(found, _mm256_set1_ps(-INFINITY), _CMP_EQ_OQ);
        const __m256 share = _mm256_andnot_ps(beyond, exp_of(_mm256_sub_ps(found, _mm256_set1_ps(greatest))));
        _mm256_storeu_ps(scores + at, share);
        total = _mm256_add_ps(total, share);
    }
    return sum_of(total);
}

// shares · values of COUNT heads over a run of cells: BLOCK numbers from `first` on for each, `apart` in `sums`.
template <int COUNT>
AVX2 void gather(const float *shares, const float *const *values, int first, int count, float *sums, int apart) {
    constexpr int WIDTH = BLOCK / LANES;
    __m256 sum[COUNT][WIDTH];
    for (int head = 0; head < COUNT; ++head)
        for (int i = 0; i < WIDTH; ++i) sum[head][i] = _mm256_setzero_ps();
    for (int at = 0; at < count; ++at) {
        const float *value = values[at] + first;
        __m256 share[COUNT];
        for (int head = 0; head < COUNT; ++head) share[head] = _mm256_set1_ps(shares[head * SEGMENT + at]);
        for (int i = 0; i < WIDTH; ++i) {
            const __m256 held = _mm256_loadu_ps(value + LANES * i);
            for (int head = 0; head < COUNT; ++head) sum[head][i] = _mm256_fmadd_ps(share[head], held, sum[head][i]);
        }
    }
    for (int head = 0; head < COUNT; ++head)
        for (int i = 0; i < WIDTH; ++i) _mm256_storeu_ps(sums + head * apart + LANES * i, sum[head][i]);
}

// What a head sees of a segment is its *sight*: the sum of the values weighted by e^(score - greatest), then the
// greatest score and the sum of the weights.
constexpr int sight_floats(int dimension) { return dimension + LANES; }

template <int COUNT>
void see_heads(const float *queries, const float *const *keys, const float *const *values, int count, int dimension,
               float *sights, int apart) {
    alignas(32) float shares[COUNT * SEGMENT], most[COUNT];
    score<COUNT>(queries, keys, count, dimension, 1 / std::sqrt(float(dimension)), shares, most);
    for (int head = 0; head < COUNT; ++head) {
        float *after = sights + head * apart + dimension;
        after[0] = most[head];
        after[1] = exponentiate(shares + head * SEGMENT, count, most[head]);
    }
    for (int d = 0; d < dimension; d += BLOCK) gather<COUNT>(shares, values, d, count, sights + d, apart);
}

// What `heads` heads that share keys and values see of a segment of at most SEGMENT cells; their sights are `apart`.
inline void see(const float *queries, const Cache::Head &held, const int32_t *cells, int count, int heads, float *sights,
                int apart) {
    const float *keys[SEGMENT], *values[SEGMENT];
    for (int i = 0; i < count; ++i) keys[i] = held.key(cells[i]), values[i] = held.value(cells[i]);
    constexpr auto several = see_heads<HEADS>, two = see_heads<2>, one = see_heads<1>;
    static_assert(HEADS == 3, "what is left over are one or two heads");
    for (int head = 0, left; (left = heads - head) > 0; head += HEADS) {
        const auto some = left >= HEADS ? several : left == 2 ? two : one;
        some(queries + head * held.dimension, keys, values, count, held.dimension, sights + head * apart, apart);
    }
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
