// Products of 8-bit weights with inputs of 16 bits.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <utility>

#include "avx2.h"

namespace {

constexpr int ROWS = 2 * LANES;      // of a group, which are computed together
constexpr int FILE_BLOCK = 34;       // bytes: a scale of 16 bits, then BLOCK weights
constexpr int GROUP_BLOCK = ROWS * FILE_BLOCK;
constexpr int FEW = 16;              // tokens whose products take no longer than memory does, about
constexpr int AHEAD = 6 * GROUP_BLOCK; // bytes from what is computed with to what memory is asked for
constexpr int NEAR_BYTES = 14 << 10; // of inputs, to be kept in the nearest cache beside a group of rows

// -- inputs -----------------------------------------------------------------------------------------------------------

// Rows of numbers as 16-bit integers, with one scale for BLOCK of them.
struct Quantized {
    int columns, blocks;
    Aligned<int16_t> integers;
    Aligned<float> scales;

    Quantized(int tokens, int columns)
        : columns(columns), blocks(columns / BLOCK), integers(size_t(tokens) * columns), scales(size_t(tokens) * blocks) {}
    int16_t *row(int token) const { return integers.data() + size_t(token) * columns; }
    float *scales_of(int token) const { return scales.data() + size_t(token) * blocks; }
};

AVX2_INLINE void quantize_block(__m256 a, __m256 b, __m256 c, __m256 d, int16_t *integers, float *scale) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    const __m256 most = _mm256_max_ps(_mm256_max_ps(_mm256_andnot_ps(sign, a), _mm256_andnot_ps(sign, b)),
                                      _mm256_max_ps(_mm256_andnot_ps(sign, c), _mm256_andnot_ps(sign, d)));
    const float greatest = greatest_of(most);
    *scale = greatest / LARGEST;
    const __m256 factor = _mm256_set1_ps(greatest > 0 ? LARGEST / greatest : 0);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(integers), packed(a, b, factor));
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(integers + 16), packed(c, d, factor));
}

AVX2 void quantize(const float *numbers, int count, int16_t *integers, float *scales) {
    for (int at = 0; at < count; at += BLOCK)
        quantize_block(_mm256_loadu_ps(numbers + at), _mm256_loadu_ps(numbers + at + 8),
                       _mm256_loadu_ps(numbers + at + 16), _mm256_loadu_ps(numbers + at + 24), integers + at,
                       scales + at / BLOCK);
}

// numbers / their root mean square · weights, quantized.
AVX2 void normalize(const float *numbers, const float *weights, int count, float epsilon, int16_t *integers,
                    float *scales) {
    __m256 squares = _mm256_setzero_ps();
    for (int at = 0; at < count; at += LANES) {
        const __m256 x = _mm256_loadu_ps(numbers + at);
        squares = _mm256_fmadd_ps(x, x, squares);
    }
    const __m256 factor = _mm256_set1_ps(1 / std::sqrt(sum_of(squares) / count + epsilon));
    for (int at = 0; at < count; at += BLOCK) {
        __m256 part[4];
        for (int i = 0; i < 4; ++i)
            part[i] = _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(numbers + at + 8 * i), factor),
                                    _mm256_loadu_ps(weights + at + 8 * i));
        quantize_block(part[0], part[1], part[2], part[3], integers + at, scales + at / BLOCK);
    }
}

// silu(gate) · up of BLOCK numbers, quantized.
AVX2 void gate_block(const float *gate, const float *up, int16_t *integers, float *scale) {
    __m256 part[4];
    for (int i = 0; i < 4; ++i) {
        const __m256 x = _mm256_loadu_ps(gate + 8 * i);
        const __m256 e = exp_of(_mm256_sub_ps(_mm256_setzero_ps(), x));
        const __m256 silu = _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1), e));
        part[i] = _mm256_mul_ps(silu, _mm256_loadu_ps(up + 8 * i));
    }
    quantize_block(part[0], part[1], part[2], part[3], integers, scale);
}

// -- weights ---------------------------------------------------------------------------------------------------------

// Rows of weights in groups of ROWS. A group's block is ROWS scales of 16 bits, then two columns of each row at a
// time, so that one register holds the same two columns of LANES rows.
struct Matrix {
    int rows, blocks;
    uint8_t *bytes;

    Matrix(int rows, int columns, Arena &arena)
        : rows(rows), blocks(columns / BLOCK), bytes(arena.take(size_t(rows) / ROWS * (columns / BLOCK) * GROUP_BLOCK)) {}

    int groups() const { return rows / ROWS; }
    uint8_t *group(int number) const { return bytes + size_t(number) * blocks * GROUP_BLOCK; }

    // Takes ROWS rows as they stand in the file.
    void fill(int number, const uint8_t *file) {
        uint8_t *to = group(number);
        const size_t row_bytes = size_t(blocks) * FILE_BLOCK;
        for (int block = 0; block < blocks; ++block, to += GROUP_BLOCK)
            for (int row = 0; row < ROWS; ++row) {
                const uint8_t *from = file + row * row_bytes + size_t(block) * FILE_BLOCK;
                std::memcpy(to + 2 * row, from, 2);
                for (int column = 0; column < BLOCK; column += 2)
                    std::memcpy(to + ROWS * (2 + column) + 2 * row, from + 2 + column, 2);
            }
    }

    AVX2 void row(int number, float *numbers) const {
        const uint8_t *from = group(number / ROWS);
        const int row = number % ROWS;
        for (int block = 0; block < blocks; ++block, from += GROUP_BLOCK) {
            uint16_t half;
            std::memcpy(&half, from + 2 * row, 2);
            const float scale = _cvtsh_ss(half);
            for (int column = 0; column < BLOCK; ++column)
                *numbers++ = scale * static_cast<int8_t>(from[ROWS * (2 + (column & ~1)) + 2 * row + (column & 1)]);
        }
    }
};

using Tile = void (*)(const uint8_t *group, const Quantized &input, int first, float *output, size_t stride);

// Loops::multiply_tile of 1, 2, ... tokens.
template <typename Loops, bool ADDS, bool FETCHES, int... INDEX>
constexpr std::array<Tile, sizeof...(INDEX)> tiles_of(std::integer_sequence<int, INDEX...>) {
    return {Loops::template multiply_tile<INDEX + 1, ADDS, FETCHES>...};
}

// The products of `groups` groups, from `first_group` on, with all tokens: a row of `output` for each token, `stride`
// apart. ADDS: they are added to what it holds. Few tokens wait for memory: it is asked ahead, and weights are read by many at
// once. Of more, some are taken at a time: so they stay in the nearest cache. Loops: `Narrow` or `Wide`.
template <typename Loops, bool ADDS>
void multiply(const Matrix &matrix, int first_group, int groups, const Quantized &input, int tokens, float *output,
              size_t stride) {
    static constexpr auto many = tiles_of<Loops, ADDS, false>(std::make_integer_sequence<int, Loops::TILE>());
    static constexpr auto few = tiles_of<Loops, ADDS, true>(std::make_integer_sequence<int, Loops::TILE_OF_FEW>());
    const bool are_few = tokens <= FEW;
    const Tile *const tiles = are_few ? few.data() : many.data();
    const int tile = int(are_few ? few.size() : many.size());
    const int run = are_few ? FEW : std::max(1, NEAR_BYTES / (2 * input.columns) / tile) * tile;
    for (int begin = 0; begin < tokens; begin += run)
        for (int number = 0; number < groups; ++number) {
            const uint8_t *group = matrix.group(first_group + number);
            float *to = output + number * ROWS;
            const int end = std::min(tokens, begin + run);
            for (int token = begin; token < end; token += tile)
                tiles[std::min(tile, end - token) - 1](group, input, token, to, stride);
        }
}

} // namespace
