// What the heads of a token see of the cells of its path.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "avx2.h"

namespace {

// The sums of eight registers, one in each lane.
AVX2_INLINE __m256 eight_sums(const __m256 *v) {
    const __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    const __m256 b = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

// query · keys · scale for a run of cells; `scores` has room for whole LANES. Returns the greatest.
AVX2 float score(const float *query, const float *keys, const int32_t *cells, int count, int dimension, float scale,
                 float *scores) {
    __m256 most = _mm256_set1_ps(-INFINITY);
    for (int at = 0; at < count; at += LANES) {
        __m256 products[LANES];
        const float *key[LANES];
        for (int i = 0; i < LANES; ++i) {
            products[i] = _mm256_setzero_ps();
            key[i] = keys + size_t(cells[std::min(at + i, count - 1)]) * dimension;
        }
        for (int d = 0; d < dimension; d += LANES) {
            const __m256 asked = _mm256_loadu_ps(query + d);
            for (int i = 0; i < LANES; ++i)
                products[i] = _mm256_fmadd_ps(asked, _mm256_loadu_ps(key[i] + d), products[i]);
        }
        const __m256 found = _mm256_mul_ps(eight_sums(products), _mm256_set1_ps(scale));
        _mm256_storeu_ps(scores + at, found);
        most = _mm256_max_ps(most, found); // lanes beyond the end repeat the last cell
    }
    return greatest_of(most);
}

// exp(score - greatest) in place; returns their sum. What follows the scores up to whole LANES is set to 0.
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

// Adds shares · values of a run of cells to WIDTH registers of numbers, `stride` apart in `values`.
template <int WIDTH>
AVX2 void gather(const float *shares, const float *values, const int32_t *cells, int count, int stride, float *sums) {
    __m256 sum[WIDTH];
    for (int i = 0; i < WIDTH; ++i) sum[i] = _mm256_loadu_ps(sums + LANES * i);
    for (int at = 0; at < count; ++at) {
        const float *value = values + size_t(cells[at]) * stride;
        const __m256 share = _mm256_set1_ps(shares[at]);
        for (int i = 0; i < WIDTH; ++i)
            sum[i] = _mm256_fmadd_ps(share, _mm256_loadu_ps(value + LANES * i), sum[i]);
    }
    for (int i = 0; i < WIDTH; ++i) _mm256_storeu_ps(sums + LANES * i, sum[i]);
}

AVX2 void scale_all(float *numbers, int count, float factor) {
    for (int at = 0; at < count; at += LANES)
        _mm256_storeu_ps(numbers + at, _mm256_mul_ps(_mm256_loadu_ps(numbers + at), _mm256_set1_ps(factor)));
}

// What a group of heads that share keys and values sees: softmax(query · keys) · values over the cells of a path.
// `scratch` has room for `heads` times the path in whole LANES, and for a number more each. Cells are taken a few at a time: so they stay in the
// nearest cache for all heads.
void attend(const float *queries, const float *keys, const float *values, const int32_t *cells, int count, int heads,
            int dimension, float *scratch, float *output) {
    constexpr int RUN = 32;
    const float scale = 1 / std::sqrt(float(dimension));
    const int room = (count + LANES - 1) / LANES * LANES;
    float *most = scratch + heads * room;
    std::fill(most, most + heads, -INFINITY);
    for (int at = 0; at < count; at += RUN)
        for (int head = 0; head < heads; ++head)
            most[head] = std::max(most[head], score(queries + head * dimension, keys, cells + at, std::min(RUN, count - at),
                                                    dimension, scale, scratch + head * room + at));
    std::memset(output, 0, sizeof(float) * heads * dimension);
    for (int head = 0; head < heads; ++head) // from here on their sums
        most[head] = exponentiate(scratch + head * room, count, most[head]);
    for (int at = 0; at < count; at += RUN)
        for (int head = 0; head < heads; ++head)
            for (int d = 0; d < dimension;) {
                float *sums = output + head * dimension + d;
                const float *shares = scratch + head * room + at;
                const bool is_wide = d + 2 * BLOCK <= dimension;
                const auto part = is_wide ? gather<2 * BLOCK / LANES> : gather<BLOCK / LANES>;
                part(shares, values + d, cells + at, std::min(RUN, count - at), dimension, sums);
                d += is_wide ? 2 * BLOCK : BLOCK;
            }
    for (int head = 0; head < heads; ++head) scale_all(output + head * dimension, dimension, 1 / most[head]);
}

} // namespace
