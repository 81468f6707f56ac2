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
#include "cache.h"

namespace {

constexpr int HEADS = 3; // computed together: with BLOCK numbers of a value their sums just fit the registers
constexpr int RUN = 2;   // stretches that all tokens look at, one after the other, while memory gets the next ones

// A token that looks at a segment with all heads that share its keys and values.
struct Viewer {
    const int16_t *queries;
    const float *scales;      // of the queries, by head
    const Stretch *stretches; // of its path in this segment
    int stretch_count;
    int count; // of cells
    float *sights;
};

// Two integers side by side, in all lanes.
AVX2_INLINE __m256i both(const int16_t *integers) {
    int32_t two;
    std::memcpy(&two, integers, sizeof two);
    return _mm256_set1_epi32(two);
}

// sum + a · b, two products in a lane, `b` in memory. Sums stay in their registers instead of moving about.
AVX2_INLINE void add_products(__m256i &sum, __m256i a, const int16_t *b) {
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, _mm256_load_si256(reinterpret_cast<const __m256i *>(b))));
    asm("" : "+x"(sum));
}

// The scores of COUNT heads for the cells of GROUPS stretches, `apart` from one head to the next. `ahead`: where memory is
// asked for as many keys of each.
template <int COUNT, int GROUPS>
AVX2 void score(const Viewer &viewer, int head, const Stretch *stretches, const Cache::Head &held, const int16_t *const *ahead,
                float *scores, size_t apart) {
    const int16_t *queries = viewer.queries + head * held.dimension, *keys[GROUPS];
    __m256i products[GROUPS][COUNT];
    UNROLL for (int group = 0; group < GROUPS; ++group) {
        keys[group] = held.keys(stretches[group].group);
        UNROLL for (int i = 0; i < COUNT; ++i) products[group][i] = _mm256_setzero_si256();
    }
    for (int d = 0; d < held.dimension; d += 4) {
        for (int group = 0; group < GROUPS; ++group) fetch(ahead[group] + d * LANES);
        UNROLL for (int two = d; two < d + 4; two += 2)
            UNROLL for (int i = 0; i < COUNT; ++i) {
                const __m256i query = both(queries + i * held.dimension + two);
                UNROLL for (int group = 0; group < GROUPS; ++group)
                    add_products(products[group][i], query, keys[group] + two * LANES);
            }
    }
    UNROLL for (int group = 0; group < GROUPS; ++group) {
        const __m256 scales = _mm256_load_ps(held.key_scales(stretches[group].group));
        UNROLL for (int i = 0; i < COUNT; ++i) {
            const __m256 scale = _mm256_mul_ps(scales, _mm256_set1_ps(viewer.scales[head + i]));
            stretches[group].by_position(_mm256_mul_ps(_mm256_cvtepi32_ps(products[group][i]), scale), viewer.count,
                                         scores + i * apart);
        }
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

// The shares of all stretches' cells times the scales of their values, by lane, as integers in the first half of `weights`.
// Returns the integers' scale.
AVX2 float weigh(const Viewer &viewer, const Cache::Head &held, const float *shares, float total, float *weights) {
    __m256 most = _mm256_setzero_ps(), largest = _mm256_setzero_ps();
    for (int at = 0; at < viewer.stretch_count; ++at) {
        const Stretch &stretch = viewer.stretches[at];
        const __m256 own = stretch.by_lane(shares, viewer.count);
        const __m256 is_own = _mm256_cmp_ps(own, _mm256_setzero_ps(), _CMP_NEQ_UQ);
        const __m256 scales = _mm256_and_ps(is_own, _mm256_load_ps(held.value_scales(stretch.group)));
        const __m256 weight = _mm256_mul_ps(own, scales);
        _mm256_storeu_ps(weights + at * LANES, weight);
        most = _mm256_max_ps(most, weight);
        largest = _mm256_max_ps(largest, scales);
    }
    const float scale = std::max(greatest_of(most) / LARGEST, total * greatest_of(largest) / MOST_SHARE);
    for (int at = 0; at < viewer.stretch_count; ++at) {
        const __m256 weight = _mm256_loadu_ps(weights + at * LANES);
        _mm_storeu_si128(reinterpret_cast<__m128i *>(weights) + at,
                         _mm256_castsi256_si128(packed(weight, weight, inverse(scale))));
    }
    return scale;
}

// Adds weights · values of COUNT heads for the cells of GROUPS stretches; weights and sums of one head are so far `apart` from
// the next one's. `ahead`: where memory is asked for as many values of each.
template <int COUNT, int GROUPS>
AVX2 void gather(const int16_t *weights, size_t weights_apart, const Stretch *stretches, const Cache::Head &held,
                 const int16_t *const *ahead, float *sums, size_t sums_apart) {
    constexpr int WIDTH = BLOCK / LANES;
    for (int first = 0; first < held.dimension; first += BLOCK) {
        __m256i *to[COUNT], sum[COUNT][WIDTH];
        UNROLL for (int head = 0; head < COUNT; ++head) {
            to[head] = reinterpret_cast<__m256i *>(sums + first + head * sums_apart);
            UNROLL for (int i = 0; i < WIDTH; ++i) sum[head][i] = _mm256_loadu_si256(to[head] + i);
        }
        UNROLL for (int group = 0; group < GROUPS; ++group) {
            const int16_t *values = held.values(stretches[group].group) + 2 * first, *next = ahead[group] + 2 * first;
            UNROLL for (int lane = 0; lane < LANES; lane += 2, values += 2 * held.dimension, next += 2 * held.dimension) {
                fetch(next), fetch(next + BLOCK);
                UNROLL for (int head = 0; head < COUNT; ++head) {
                    const __m256i weight = both(weights + head * weights_apart + group * LANES + lane);
                    UNROLL for (int i = 0; i < WIDTH; ++i) add_products(sum[head][i], weight, values + 2 * LANES * i);
                }
            }
        }
        UNROLL for (int head = 0; head < COUNT; ++head)
            UNROLL for (int i = 0; i < WIDTH; ++i) _mm256_storeu_si256(to[head] + i, sum[head][i]);
    }
}

// Integers times `scale` as numbers, in place.
AVX2 void settle(float *integers, int count, float scale) {
    for (int at = 0; at < count; at += LANES) {
        const __m256i found = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(integers + at));
        _mm256_storeu_ps(integers + at, _mm256_mul_ps(_mm256_cvtepi32_ps(found), _mm256_set1_ps(scale)));
    }
}

// What a head sees of a segment is its *sight*: the sum of the values weighted by e^(score - greatest), then the
// greatest score, the sum of the weights, and the scale of the first sum while it is one of integers.
constexpr int sight_floats(int dimension) { return dimension + LANES; }

// Calls look(COUNT, head) for all heads, COUNT (known to the compiler) from `head` on at a time.
template <typename Look> void each_few_heads(int heads, const Look &look) {
    static_assert(HEADS == 3, "what is left over are one or two heads");
    int head = 0;
    for (; head + HEADS <= heads; head += HEADS) look(std::integral_constant<int, HEADS>(), head);
    if (heads - head == 2) look(std::integral_constant<int, 2>(), head);
    if (heads - head == 1) look(std::integral_constant<int, 1>(), head);
}

// What the viewers see of a segment of at most SEGMENT cells; sights of heads are `apart`.
inline void see(const std::vector<Viewer> &viewers, const Cache::Head &held, int heads, size_t apart, std::vector<float> &room) {
    const Viewer &widest = *std::max_element(viewers.begin(), viewers.end(), [](const Viewer &a, const Viewer &b) {
        return a.stretch_count < b.stretch_count;
    });
    const int most = widest.stretch_count;
    // Of each head of each viewer: scores, then shares, by position; then weights by stretch and lane.
    const size_t floats = SEGMENT + size_t(most) * LANES, needed = viewers.size() * heads * floats;
    if (room.size() < needed) room.resize(2 * needed);
    const auto shares_of = [&](size_t viewer, int head) { return room.data() + (viewer * heads + head) * floats; };
    // Calls look(COUNT, GROUPS, viewer's number, head, first stretch's number, where to ask memory) for all runs of stretches,
    // all viewers and heads for each. What the first of them ask for comes while the others compute.
    const auto each_run = [&](const auto &ahead_of, const auto &look) {
        static_assert(RUN == 2, "what is left over is one stretch");
        for (int at = 0; at < most; at += RUN) {
            const int16_t *const ahead[] = {ahead_of(at + RUN), ahead_of(at + RUN + 1)};
            for (size_t number = 0; number < viewers.size(); ++number) {
                const int left = viewers[number].stretch_count - at;
                each_few_heads(heads, [&](auto few, int head) {
                    if (left >= RUN) look(few, std::integral_constant<int, RUN>(), number, head, at, ahead);
                    else if (left > 0) look(few, std::integral_constant<int, 1>(), number, head, at, ahead);
                });
            }
        }
    };
    const auto each_head = [&](const auto &look) {
        for (size_t number = 0; number < viewers.size(); ++number)
            for (int head = 0; head < heads; ++head)
                look(viewers[number], viewers[number].sights + head * apart, shares_of(number, head));
    };
    const auto values_of = [&](int at) { return held.values(widest.stretches[std::min(at, most - 1)].group); };
    const auto keys_of = [&](int at) {
        if (at >= most) return values_of(at - most);
        fetch(held.key_scales(widest.stretches[at].group));
        return held.keys(widest.stretches[at].group);
    };
    each_run(keys_of, [&](auto few, auto groups, size_t number, int head, int at, const int16_t *const *ahead) {
        const Viewer &viewer = viewers[number];
        score<few(), groups()>(viewer, head, viewer.stretches + at, held, ahead, shares_of(number, head), floats);
    });
    each_head([&](const Viewer &viewer, float *sight, float *shares) {
        float *own = sight + held.dimension;
        std::fill(sight, own, 0.0f); // which are integers of 0, too
        exponentiate(shares, viewer.count, own, own + 1);
        own[2] = weigh(viewer, held, shares, own[1], shares + SEGMENT);
    });
    each_run(values_of, [&](auto few, auto groups, size_t number, int head, int at, const int16_t *const *ahead) {
        const Viewer &viewer = viewers[number];
        const int16_t *weights = reinterpret_cast<const int16_t *>(shares_of(number, head) + SEGMENT) + at * LANES;
        gather<few(), groups()>(weights, 2 * floats, viewer.stretches + at, held, ahead, viewer.sights + head * apart, apart);
    });
    each_head([&](const Viewer &, float *sight, float *) { settle(sight, held.dimension, sight[held.dimension + 2]); });
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
