// The loops of `Narrow`, where they are explained, for processors with AVX-512 and VNNI, which multiplies 32 integers of 16
// bits and adds them up at once. Integers are the same and floats are added in the same order, so rows are the same bit for
// bit.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "attention.h"
#include "avx2.h"
#include "products.h"

#define AVX512_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c"
#define AVX512 __attribute__((target(AVX512_TARGET)))
#define AVX512_INLINE inline __attribute__((always_inline, target(AVX512_TARGET)))
#define UNROLL_WIDE _Pragma("GCC unroll 16")

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized" // in the compiler's own headers: GCC bug 105593
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace {

// sum + a · b, two products in a lane. Sums stay in their registers instead of moving about.
AVX512_INLINE void add_at_once(__m512i &sum, __m512i a, __m512i b) {
    sum = _mm512_dpwssd_epi32(sum, a, b);
    asm("" : "+v"(sum));
}

AVX512_INLINE void add_at_once(__m256i &sum, __m256i a, __m256i b) {
    sum = _mm256_dpwssd_epi32(sum, a, b);
    asm("" : "+v"(sum));
}

AVX512_INLINE __m256i half_loaded(const void *bytes) { return _mm256_loadu_si256(static_cast<const __m256i *>(bytes)); }

// exp_of, of sixteen numbers.
AVX512_INLINE __m512 wide_exp_of(__m512 x) {
    x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(LEAST_POWER)), _mm512_set1_ps(GREATEST_POWER));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(LOG2_E)), _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_HIGH), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_LOW), r);
    __m512 sum = _mm512_set1_ps(EXP_FACTORS[0]);
    UNROLL for (size_t i = 1; i < std::size(EXP_FACTORS); ++i)
        sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(EXP_FACTORS[i]));
    return _mm512_scalef_ps(sum, n); // times 2^n
}

struct Wide {
    static constexpr int TILE = 12; // twice as many registers, of which sums take half as many
    static constexpr int TILE_OF_FEW = 12;
    static constexpr int STRETCHES = 4;
    static constexpr int NUMBERS = 2 * BLOCK;

    template <int COUNT, bool ADDS, bool FETCHES>
    AVX512 static void multiply_tile(const uint8_t *group, const Quantized &input, int first, float *output, size_t stride) {
        constexpr int PARTS = COUNT <= 2 ? 4 : COUNT <= 4 ? 2 : 1; // of a sum, by turns: each product waits for the last one
        __m512 sums[COUNT];
        UNROLL_WIDE for (int t = 0; t < COUNT; ++t) sums[t] = _mm512_setzero_ps();
        const int16_t *integers = input.row(first);
        const float *scales = input.scales_of(first);
        for (int block = 0; block < input.blocks; ++block, ++scales, group += GROUP_BLOCK, integers += BLOCK) {
            if (FETCHES) fetch(group + AHEAD);
            __m512i parts[COUNT][PARTS];
            UNROLL_WIDE for (int t = 0; t < COUNT; ++t)
                UNROLL_WIDE for (int i = 0; i < PARTS; ++i) parts[t][i] = _mm512_setzero_si512();
            const uint8_t *weights = group + 2 * ROWS;
            UNROLL_WIDE for (int column = 0; column < BLOCK; column += 2, weights += 2 * ROWS) {
                if (FETCHES && column % 4 == 0) fetch(weights + AHEAD);
                const __m512i of_rows = _mm512_cvtepi8_epi16(half_loaded(weights));
                UNROLL_WIDE for (int t = 0; t < COUNT; ++t) {
                    const __m512i number = _mm512_set1_epi32(two_of(integers + size_t(t) * input.columns + column));
                    add_at_once(parts[t][column / 2 % PARTS], of_rows, number);
                }
            }
            const __m512 row_scales = _mm512_cvtph_ps(half_loaded(group));
            UNROLL_WIDE for (int t = 0; t < COUNT; ++t) {
                __m512i product = parts[t][0];
                UNROLL_WIDE for (int i = 1; i < PARTS; ++i) product = _mm512_add_epi32(product, parts[t][i]);
                const __m512 scale = _mm512_set1_ps(scales[size_t(t) * input.blocks]);
                sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(product), _mm512_mul_ps(row_scales, scale), sums[t]);
            }
        }
        UNROLL_WIDE for (int t = 0; t < COUNT; ++t) {
            float *to = output + (first + t) * stride;
            _mm512_storeu_ps(to, ADDS ? _mm512_add_ps(_mm512_loadu_ps(to), sums[t]) : sums[t]);
        }
    }

    template <int COUNT, int GROUPS>
    AVX512 static void score(const Viewer &viewer, int head, int at, const Cache::Head &held, const int16_t *coming,
                             float *scores, size_t apart) {
        const Stretch *stretches = viewer.stretches + at;
        const int16_t *queries = viewer.queries + head * held.dimension, *keys[GROUPS];
        __m256i products[GROUPS][COUNT];
        UNROLL for (int group = 0; group < GROUPS; ++group) {
            keys[group] = held.keys(stretches[group].group);
            UNROLL for (int i = 0; i < COUNT; ++i) products[group][i] = _mm256_setzero_si256();
        }
        for (int d = 0; d < held.dimension; d += 4, queries += 4) {
            if (coming)
                UNROLL for (int group = 0; group < GROUPS; ++group)
                    fetch_early(coming + ((at + group) * held.dimension + d) * LANES);
            UNROLL for (int two = 0; two < 4; two += 2) {
                __m256i query[COUNT];
                UNROLL for (int i = 0; i < COUNT; ++i)
                    query[i] = _mm256_set1_epi32(two_of(queries + size_t(i) * held.dimension + two));
                UNROLL for (int group = 0; group < GROUPS; ++group) {
                    const __m256i key = _mm256_load_si256(reinterpret_cast<const __m256i *>(keys[group] + two * LANES));
                    UNROLL for (int i = 0; i < COUNT; ++i) add_at_once(products[group][i], query[i], key);
                }
            }
            UNROLL for (int group = 0; group < GROUPS; ++group) keys[group] += 4 * LANES;
        }
        UNROLL for (int group = 0; group < GROUPS; ++group)
            UNROLL for (int i = 0; i < COUNT; ++i)
                put_scores(stretches[group], products[group][i], held.key_scales(stretches[group].group),
                           viewer.scales[head + i], viewer.count, scores + i * apart);
    }

    AVX512 static void exponentiate(float *scores, int count, float *greatest, float *sum) {
        const __m512 never = _mm512_set1_ps(-INFINITY);
        for (int at = count; at % (2 * LANES); ++at) scores[at] = -INFINITY;
        __m512 most = never;
        for (int at = 0; at < count; at += 2 * LANES) most = _mm512_max_ps(most, _mm512_loadu_ps(scores + at));
        *greatest = _mm512_reduce_max_ps(most);
        __m256 total = _mm256_setzero_ps();
        for (int at = 0; at < count; at += 2 * LANES) {
            const __m512 found = _mm512_loadu_ps(scores + at);
            const __mmask16 is_seen = _mm512_cmp_ps_mask(found, never, _CMP_NEQ_UQ);
            const __m512 share = _mm512_maskz_mov_ps(is_seen, wide_exp_of(_mm512_sub_ps(found, _mm512_set1_ps(*greatest))));
            _mm512_storeu_ps(scores + at, share);
            total = _mm256_add_ps(total, _mm512_castps512_ps256(share));
            total = _mm256_add_ps(total, _mm512_extractf32x8_ps(share, 1));
        }
        *sum = sum_of(total);
    }

    template <int COUNT, int SOME>
    AVX512 static void gather(const Viewer &viewer, int first, const Cache::Head &held, const int16_t *coming,
                              const int16_t *weights, size_t weights_apart, float *sights, size_t apart) {
        constexpr int LANES_OF_ALL = 2 * LANES, WIDTH = SOME / LANES_OF_ALL;
        __m512i sums[COUNT][WIDTH];
        UNROLL for (int head = 0; head < COUNT; ++head)
            UNROLL for (int i = 0; i < WIDTH; ++i) sums[head][i] = _mm512_setzero_si512();
        for (int at = 0; at < viewer.stretch_count; ++at) {
            const int16_t *values = held.values(viewer.stretches[at].group) + 2 * first;
            UNROLL for (int lane = 0; lane < LANES; lane += 2, values += 2 * held.dimension) {
                if (coming)
                    UNROLL for (int line = 0; line < 2 * SOME; line += BLOCK)
                        fetch_early(coming + (at * LANES + lane) * held.dimension + 2 * first + line);
                __m512i some[WIDTH];
                UNROLL for (int i = 0; i < WIDTH; ++i) some[i] = _mm512_load_si512(values + 2 * LANES_OF_ALL * i);
                UNROLL for (int head = 0; head < COUNT; ++head) {
                    const __m512i weight = _mm512_set1_epi32(two_of(weights + head * weights_apart + at * LANES + lane));
                    UNROLL for (int i = 0; i < WIDTH; ++i) add_at_once(sums[head][i], weight, some[i]);
                }
            }
        }
        UNROLL for (int head = 0; head < COUNT; ++head) {
            float *sight = sights + head * apart;
            const __m512 scale = _mm512_set1_ps(sight[held.dimension + WEIGHT_SCALE]);
            UNROLL for (int i = 0; i < WIDTH; ++i)
                _mm512_storeu_ps(sight + first + LANES_OF_ALL * i, _mm512_mul_ps(_mm512_cvtepi32_ps(sums[head][i]), scale));
        }
    }
};

} // namespace

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
