// Keys and values by cell, and where those of a path are.
//
// Keys, values and queries are 16-bit integers with a scale for each vector: half the memory of 32-bit numbers, and twice as
// many in a register. Sums of integers are exact, so nothing depends on where the cells of a path lie.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "avx2.h"

namespace {

constexpr int SEGMENT = 128; // cells of a path, from a multiple on, that are taken together
constexpr size_t segments_of(int cells) { return (size_t(cells) + SEGMENT - 1) / SEGMENT; }

// Sums of products must fit 32 bits. |query · key|, and any part of its sum, is at most the product of the lengths; what is
// summed of values is at most MOST_SHARE · LARGEST_VALUE.
constexpr float LENGTH = 46000;
constexpr float LARGEST_VALUE = 16383;
constexpr float MOST_SHARE = 130000;

// The scale at which none of `count` numbers is beyond `largest`, nor all of them as a vector longer than `length`.
AVX2 inline float scale_of(const float *numbers, int count, float largest, float length) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 most = _mm256_setzero_ps();
    for (int at = 0; at < count; at += LANES)
        most = _mm256_max_ps(most, _mm256_andnot_ps(sign, _mm256_loadu_ps(numbers + at)));
    return std::max(greatest_of(most) / largest, std::sqrt(dot_product(numbers, numbers, count)) / length);
}

// 2 · LANES numbers as integers times `scale`.
AVX2_INLINE void take_integers(const float *numbers, float scale, int16_t *to) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to),
                        packed(_mm256_loadu_ps(numbers), _mm256_loadu_ps(numbers + LANES), inverse(scale)));
}

// A query of `count` numbers as integers. Returns their scale.
AVX2 inline float take_query(const float *numbers, int count, int16_t *to) {
    const float scale = scale_of(numbers, count, LARGEST, LENGTH);
    for (int at = 0; at < count; at += 2 * LANES) take_integers(numbers + at, scale, to + at);
    return scale;
}

// LANES cells are a group: two numbers of each cell's key stand side by side, and the same number of the values of two cells.
// SEGMENT cells are a block, in which those of all layers and heads stand one after the other: so what one head holds of a
// segment is one stretch of memory, and cells that were never used take none.
class Cache {
  public:
    // Where a group is in what a head holds: bytes, the same for all layers and heads.
    struct Place {
        size_t numbers, scales;
    };

    // What one head of one layer holds.
    struct Head {
        uint8_t *first;
        int dimension;

        int16_t *keys(Place group) const { return reinterpret_cast<int16_t *>(first + group.numbers); }
        int16_t *values(Place group) const { return keys(group) + SEGMENT * dimension; }
        float *key_scales(Place group) const {
            return reinterpret_cast<float *>(first + 2 * SEGMENT * dimension * sizeof(int16_t) + group.scales);
        }
        float *value_scales(Place group) const { return key_scales(group) + LANES; }

        // Of the cell in a lane of the group.
        AVX2 void set_key(Place group, int lane, const float *numbers) const {
            const float scale = key_scales(group)[lane] = scale_of(numbers, dimension, LARGEST, LENGTH);
            int16_t some[2 * LANES], *to = keys(group) + 2 * lane;
            for (int at = 0; at < dimension; ++at) {
                if (at % (2 * LANES) == 0) take_integers(numbers + at, scale, some);
                to[at / 2 * 2 * LANES + at % 2] = some[at % (2 * LANES)];
            }
        }

        AVX2 void set_value(Place group, int lane, const float *numbers) const {
            const float scale = value_scales(group)[lane] = scale_of(numbers, dimension, LARGEST_VALUE, INFINITY);
            int16_t some[2 * LANES], *to = value(group, lane);
            for (int at = 0; at < dimension; ++at) {
                if (at % (2 * LANES) == 0) take_integers(numbers + at, scale, some);
                to[2 * at] = some[at % (2 * LANES)];
            }
        }

        void get_value(Place group, int lane, float *numbers) const {
            const int16_t *from = value(group, lane);
            for (int at = 0; at < dimension; ++at) numbers[at] = value_scales(group)[lane] * from[2 * at];
        }

      private:
        // Its numbers are two apart.
        int16_t *value(Place group, int lane) const { return values(group) + lane / 2 * 2 * dimension + lane % 2; }
    };

    Cache(int layers, int heads, int cells, int dimension)
        : heads(heads), dimension(dimension), part(SEGMENT * cell_bytes(1, 1, dimension)), block(part * layers * heads),
          bytes(arena.take(segments_of(cells) * block)) {}

    static constexpr size_t cell_bytes(int layers, int heads, int dimension) {
        return size_t(layers) * heads * 2 * (dimension * sizeof(int16_t) + sizeof(float));
    }

    Head head(int layer, int head) const { return {bytes + (size_t(layer) * heads + head) * part, dimension}; }

    Place group(int cell) const {
        const size_t start = cell / SEGMENT * block, at = cell % SEGMENT / LANES;
        return {start + at * LANES * dimension * sizeof(int16_t), start + at * 2 * LANES * sizeof(float)};
    }

    // Gives the memory of the blocks behind the cell `end` back, of those up to `last`.
    void release(int end, int last) const { give_back(bytes + segments_of(end) * block, bytes + segments_of(last) * block); }

  private:
    Arena arena;
    const int heads, dimension;
    const size_t part, block; // bytes of a head's and of all heads' keys and values of SEGMENT cells
    uint8_t *const bytes;
};

// The cells of a group that a path has in one of its segments.
struct Stretch {
    int number; // of the group
    Cache::Place group;
    int16_t first;            // the least position
    int16_t positions[LANES]; // in the segment, by lane; SEGMENT: not on the path
    bool ascends = false;     // by one from lane to lane

    Stretch(int number, Cache::Place group, int position) : number(number), group(group), first(int16_t(position)) {
        std::fill(positions, positions + LANES, int16_t(SEGMENT));
    }

    void add(int lane, int position) {
        positions[lane] = int16_t(position);
        ascends = true;
        for (int i = 0; i < LANES; ++i) ascends &= positions[i] == first + i;
    }

    // Numbers by position as such by lane, of the first `count` cells of the segment; 0 for other cells.
    AVX2_INLINE __m256 by_lane(const float *numbers, int count) const {
        if (is_whole(count)) return _mm256_loadu_ps(numbers + first);
        float found[LANES];
        for (int lane = 0; lane < LANES; ++lane) found[lane] = positions[lane] < count ? numbers[positions[lane]] : 0;
        return _mm256_loadu_ps(found);
    }

    AVX2_INLINE void by_position(__m256 numbers, int count, float *to) const {
        if (is_whole(count)) return _mm256_storeu_ps(to + first, numbers);
        float found[LANES];
        _mm256_storeu_ps(found, numbers);
        for (int lane = 0; lane < LANES; ++lane)
            if (positions[lane] < count) to[positions[lane]] = found[lane];
    }

  private:
    bool is_whole(int count) const { return ascends && positions[LANES - 1] < count; }
};

// The cells of a path: stretches by segments, in the order of their least positions.
class Route {
  public:
    void clear() { length = 0, stretches.clear(), starts.clear(); }
    int cells() const { return length; }

    void append(int cell, const Cache &cache) {
        const int position = length++ % SEGMENT, number = cell / LANES;
        if (!position) starts.push_back(stretches.size());
        const auto newest = stretches.rbegin(), none = stretches.rend() - starts.back();
        auto found = std::find_if(newest, none, [&](const Stretch &stretch) { return stretch.number == number; });
        if (found == none) {
            stretches.emplace_back(number, cache.group(cell), position);
            found = stretches.rbegin();
        }
        found->add(cell % LANES, position);
    }

    const Stretch *segment(int number) const { return stretches.data() + starts[number]; }

    // How many the first `count` cells of a segment are in.
    int stretches_of(int number, int count) const {
        size_t end = number + 1 < int(starts.size()) ? starts[number + 1] : stretches.size();
        while (stretches[end - 1].first >= count) --end;
        return int(end - starts[number]);
    }

  private:
    int length = 0;
    std::vector<Stretch> stretches;
    std::vector<size_t> starts; // of the segments
};

} // namespace
