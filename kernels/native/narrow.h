// The loops that nearly all of the time goes to, for processors with AVX2: products of integers of 16 bits.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "attention.h"
#include "avx2.h"
#include "products.h"

namespace {

AVX2_INLINE __m256i widened(const uint8_t *bytes) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(bytes)));
}

AVX2_INLINE __m256 halves(const uint8_t *bytes) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(bytes)));
}

// Two integers side by side, in all lanes.
AVX2_INLINE __m256i both(const int16_t *integers) { return _mm256_set1_epi32(two_of(integers)); }

// sum + a · b, two products in a lane. Sums stay in their registers instead of moving about.
AVX2_INLINE void add_products(__m256i &sum, __m256i a, __m256i b) {
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    asm("" : "+x"(sum));
}

AVX2_INLINE __m256i loaded(const int16_t *integers) {
    return _mm256_load_si256(reinterpret_cast<const __m256i *>(integers));
}

struct Narrow {
    static constexpr int TILE = 3;        // tokens computed together: their sums just fit the registers
    static constexpr int TILE_OF_FEW = 6; // their sums of integers just fit the registers
    static constexpr int STRETCHES = 2;   // scored together
    static constexpr int NUMBERS = BLOCK; // of values, gathered together

    // The products of one group of rows with COUNT tokens, from `first` on: ROWS numbers for each, `stride` apart. FETCHES:
    // memory is asked for the weights behind.
    template <int COUNT, bool ADDS, bool FETCHES>
    AVX2 static void multiply_tile(const uint8_t *group, const Quantized &input, int first, float *output, size_t stride) {
        __m256 low[COUNT], high[COUNT];
        for (int t = 0; t < COUNT; ++t) low[t] = high[t] = _mm256_setzero_ps();
        const int16_t *integers = input.row(first);
        const float *scales = input.scales_of(first);
        for (int block = 0; block < input.blocks; ++block, ++scales, group += GROUP_BLOCK) {
            if (FETCHES) fetch(group + AHEAD);
            __m256i a[COUNT], b[COUNT];
            for (int t = 0; t < COUNT; ++t) a[t] = b[t] = _mm256_setzero_si256();
            const uint8_t *weights = group + 2 * ROWS;
#pragma GCC unroll 2 // more of it at once makes the compiler spill the sums
            for (int column = 0; column < BLOCK; column += 2, weights += 2 * ROWS, integers += 2) {
                if (FETCHES && column % 4 == 0) fetch(weights + AHEAD);
                const __m256i first_rows = widened(weights), last_rows = widened(weights + 2 * LANES);
                for (int t = 0; t < COUNT; ++t) {
                    const __m256i number = both(integers + size_t(t) * input.columns);
                    add_products(a[t], first_rows, number);
                    add_products(b[t], last_rows, number);
                }
            }
            const __m256 first_scales = halves(group), last_scales = halves(group + 2 * LANES);
            for (int t = 0; t < COUNT; ++t) {
                const __m256 scale = _mm256_set1_ps(scales[size_t(t) * input.blocks]);
                low[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(a[t]), _mm256_mul_ps(first_scales, scale), low[t]);
                high[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(b[t]), _mm256_mul_ps(last_scales, scale), high[t]);
            }
        }
        for (int t = 0; t < COUNT; ++t) {
            float *to = output + (first + t) * stride;
            _mm256_storeu_ps(to, ADDS ? _mm256_add_ps(_mm256_loadu_ps(to), low[t]) : low[t]);
            _mm256_storeu_ps(to + LANES, ADDS ? _mm256_add_ps(_mm256_loadu_ps(to + LANES), high[t]) : high[t]);
        }
    }

    // The scores of COUNT heads from `head` on, `apart` from one to the next, for GROUPS stretches from `at` on. `coming`:
    // the first of the keys that memory is asked for, or nullptr.
    template <int COUNT, int GROUPS>
    AVX2 static void score(const Viewer &viewer, int head, int at, const Cache::Head &held, const int16_t *coming,
                           float *scores, size_t apart) {
        const Stretch *stretches = viewer.stretches + at;
        const int16_t *queries = viewer.queries + head * held.dimension, *keys[GROUPS];
        __m256i products[GROUPS][COUNT];
        UNROLL for (int group = 0; group < GROUPS; ++group) {
            keys[group] = held.keys(stretches[group].group);
            UNROLL for (int i = 0; i < COUNT; ++i) products[group][i] = _mm256_setzero_si256();
        }
        for (int d = 0; d < held.dimension; d += 4) {
            if (coming)
                UNROLL for (int group = 0; group < GROUPS; ++group)
                    fetch_early(coming + ((at + group) * held.dimension + d) * LANES);
            UNROLL for (int two = d; two < d + 4; two += 2)
                UNROLL for (int i = 0; i < COUNT; ++i) {
                    const __m256i query = both(queries + i * held.dimension + two);
                    UNROLL for (int group = 0; group < GROUPS; ++group)
                        add_products(products[group][i], query, loaded(keys[group] + two * LANES));
                }
        }
        UNROLL for (int group = 0; group < GROUPS; ++group)
            UNROLL for (int i = 0; i < COUNT; ++i)
                put_scores(stretches[group], products[group][i], held.key_scales(stretches[group].group),
                           viewer.scales[head + i], viewer.count, scores + i * apart);
    }

    // e^(score - greatest) in place. What follows the scores up to whole registers is set to 0.
    AVX2 static void exponentiate(float *scores, int count, float *greatest, float *sum) {
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

    // Of sights of COUNT heads, `apart` from one to the next, SOME numbers from `first` on: weights · values. `coming`: the
    // first of the values that memory is asked for, or nullptr.
    template <int COUNT, int SOME>
    AVX2 static void gather(const Viewer &viewer, int first, const Cache::Head &held, const int16_t *coming,
                            const int16_t *weights, size_t weights_apart, float *sights, size_t apart) {
        constexpr int WIDTH = SOME / LANES;
        __m256i sums[COUNT][WIDTH];
        UNROLL for (int head = 0; head < COUNT; ++head)
            UNROLL for (int i = 0; i < WIDTH; ++i) sums[head][i] = _mm256_setzero_si256();
        for (int at = 0; at < viewer.stretch_count; ++at) {
            const int16_t *values = held.values(viewer.stretches[at].group) + 2 * first;
            UNROLL for (int lane = 0; lane < LANES; lane += 2, values += 2 * held.dimension) {
                if (coming)
                    UNROLL for (int line = 0; line < 2 * SOME; line += BLOCK)
                        fetch_early(coming + (at * LANES + lane) * held.dimension + 2 * first + line);
                UNROLL for (int head = 0; head < COUNT; ++head) {
                    const __m256i weight = both(weights + head * weights_apart + at * LANES + lane);
                    UNROLL for (int i = 0; i < WIDTH; ++i)
                        add_products(sums[head][i], weight, loaded(values + 2 * LANES * i));
                }
            }
        }
        UNROLL for (int head = 0; head < COUNT; ++head) {
            float *sight = sights + head * apart;
            const __m256 scale = _mm256_set1_ps(sight[held.dimension + WEIGHT_SCALE]);
            UNROLL for (int i = 0; i < WIDTH; ++i)
                _mm256_storeu_ps(sight + first + LANES * i, _mm256_mul_ps(_mm256_cvtepi32_ps(sums[head][i]), scale));
        }
    }
};

} // namespace
