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

constexpr int HEADS = 3; // computed together: their sums just fit the registers

// A token that looks at a segment with all heads that share its keys and values.
struct Viewer {
    const int16_t *queries;
    const float *scales;      // of the queries, by head
    const Stretch *stretches; // of its path in this segment
    int stretch_count;
    int count; // of cells
    float *sights;
};

// What a head sees of a segment is its *sight*: the sum of the values weighted by e^(score - greatest), then the
// greatest score, the sum of the weights, and the scale of the weights as integers.
constexpr int GREATEST = 0, TOTAL = 1, WEIGHT_SCALE = 2; // behind the values
constexpr int sight_floats(int dimension) { return dimension + LANES; }

// Products of integers with the keys of a stretch as scores, to where the positions of their cells are.
AVX2_INLINE void put_scores(const Stretch &stretch, __m256i products, const float *key_scales, float query_scale, int count,
                            float *scores) {
    const __m256 scale = _mm256_mul_ps(_mm256_load_ps(key_scales), _mm256_set1_ps(query_scale));
    stretch.by_position(_mm256_mul_ps(_mm256_cvtepi32_ps(products), scale), count, scores);
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

// Calls look(COUNT, head) for all heads, COUNT (known to the compiler) from `head` on at a time.
template <typename Look> void each_few_heads(int heads, const Look &look) {
    static_assert(HEADS == 3, "what is left over are one or two heads");
    int head = 0;
    for (; head + HEADS <= heads; head += HEADS) look(std::integral_constant<int, HEADS>(), head);
    if (heads - head == 2) look(std::integral_constant<int, 2>(), head);
    if (heads - head == 1) look(std::integral_constant<int, 1>(), head);
}

// What the viewers see of a segment of at most SEGMENT cells; sights of heads are `apart`. Meanwhile memory is asked
// for what is `coming`: keys, and values behind them. Loops: `Narrow` or `Wide`.
template <typename Loops>
void see(const std::vector<Viewer> &viewers, const Cache::Head &held, const int16_t *coming, int heads, size_t apart,
         std::vector<float> &room) {
    int most = 0;
    for (const Viewer &viewer : viewers) most = std::max(most, viewer.stretch_count);
    // Of each head of each viewer: scores, then shares, by position; then weights by stretch and lane.
    const size_t floats = SEGMENT + size_t(most) * LANES, needed = viewers.size() * heads * floats;
    if (room.size() < needed) room.resize(2 * needed);
    // Calls look(COUNT, viewer, head, the head's numbers in `room`, `next`, but nullptr for all viewers but the first).
    const auto each = [&](const int16_t *next, const auto &look) {
        for (size_t number = 0; number < viewers.size(); ++number)
            each_few_heads(heads, [&](auto few, int head) {
                look(few, viewers[number], head, room.data() + (number * heads + head) * floats, number ? nullptr : next);
            });
    };
    each(coming, [&](auto few, const Viewer &viewer, int head, float *scores, const int16_t *next) {
        int at = 0;
        for (; at + Loops::STRETCHES <= viewer.stretch_count; at += Loops::STRETCHES)
            Loops::template score<few(), Loops::STRETCHES>(viewer, head, at, held, next, scores, floats);
        for (; at < viewer.stretch_count; ++at)
            Loops::template score<few(), 1>(viewer, head, at, held, next, scores, floats);
    });
    each(nullptr, [&](auto few, const Viewer &viewer, int head, float *shares, const int16_t *) {
        for (int i = 0; i < few(); ++i, shares += floats) {
            float *own = viewer.sights + (head + i) * apart + held.dimension;
            Loops::exponentiate(shares, viewer.count, own + GREATEST, own + TOTAL);
            own[WEIGHT_SCALE] = weigh(viewer, held, shares, own[TOTAL], shares + SEGMENT);
        }
    });
    const int16_t *const coming_values = coming + SEGMENT * held.dimension;
    each(coming_values, [&](auto few, const Viewer &viewer, int head, float *shares, const int16_t *next) {
        const auto *weights = reinterpret_cast<const int16_t *>(shares + SEGMENT);
        float *sights = viewer.sights + head * apart;
        int first = 0;
        for (; first + Loops::NUMBERS <= held.dimension; first += Loops::NUMBERS)
            Loops::template gather<few(), Loops::NUMBERS>(viewer, first, held, next, weights, 2 * floats, sights, apart);
        if (first < held.dimension)
            Loops::template gather<few(), BLOCK>(viewer, first, held, next, weights, 2 * floats, sights, apart);
    });
}

// softmax(query · keys) · values of a head over a whole path, from what it sees of the path's segments.
AVX2 void join(const float *sights, int segments, int dimension, float *output) {
    const int floats = sight_floats(dimension);
    float most = -INFINITY, total = 0;
    for (int i = 0; i < segments; ++i) most = std::max(most, sights[i * floats + dimension + GREATEST]);
    std::fill(output, output + dimension, 0.0f);
    for (int i = 0; i < segments; ++i, sights += floats) {
        const float share = std::exp(sights[dimension + GREATEST] - most);
        total += share * sights[dimension + TOTAL];
        for (int d = 0; d < dimension; ++d) output[d] += share * sights[d];
    }
    for (int d = 0; d < dimension; ++d) output[d] /= total;
}

} // namespace
