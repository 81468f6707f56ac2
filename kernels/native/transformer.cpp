// The forward pass of a Llama of 8-bit weights, for processors with AVX2. Contract: engine_kernels/_transformer.pyi;
// definition: engine_kernels/transformer_reference.py; why: docs/decisions/0016-a-forward-pass-of-our-own.md.
//
// Every sum is taken in an order that depends on the row and on the token's path alone. So a row is the same bit for
// bit, whatever else stands in the batch, however the chunks fall to threads, and wherever its path's cells lie.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "team.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define MIDWORD_AVX2 1
#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX2_INLINE inline __attribute__((always_inline, target("avx2,fma,f16c")))
#endif

namespace nb = nanobind;

namespace {

bool is_supported() {
#ifdef MIDWORD_AVX2
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#else
    return false;
#endif
}

#ifdef MIDWORD_AVX2

constexpr int LANES = 8;       // numbers in a register
constexpr int ROWS = 2 * LANES; // of a group, which are computed together
constexpr int BLOCK = 32;      // columns with one scale
constexpr int FILE_BLOCK = 34; // bytes: a scale of 16 bits, then BLOCK weights
constexpr int GROUP_BLOCK = ROWS * FILE_BLOCK;
constexpr int TILE = 3;        // tokens computed together: their sums just fit the registers
constexpr int NEAR_BYTES = 14 << 10; // of inputs, to be kept in the nearest cache beside a group of rows
constexpr float LARGEST = 32767;

template <typename T> using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void require(bool holds, const char *otherwise) {
    if (!holds) throw nb::value_error(otherwise);
}

template <typename T> struct Aligned {
    struct Free {
        void operator()(T *numbers) const { ::operator delete[](numbers, std::align_val_t(64)); }
    };
    std::unique_ptr<T[], Free> numbers;

    explicit Aligned(size_t count = 0)
        : numbers(static_cast<T *>(::operator new[](count * sizeof(T) + 64, std::align_val_t(64)))) {}
    T *data() const { return numbers.get(); }
};

// -- numbers ----------------------------------------------------------------------------------------------------------

AVX2_INLINE float sum_of(__m256 v) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

AVX2_INLINE float greatest_of(__m256 v) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

// e^x to a relative 2e-7: 2^n times a polynomial of what is left, which lies within ± ln 2 / 2.
AVX2_INLINE __m256 exp_of(__m256 x) {
    x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(-87.0f)), _mm256_set1_ps(88.0f));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693145752f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(1.42860677e-6f), r);
    __m256 sum = _mm256_set1_ps(1.0f / 720);
    for (float factor : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
        sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(factor));
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(sum, _mm256_castsi256_ps(power));
}

// -- inputs of products -----------------------------------------------------------------------------------------------

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
    // Packing works in halves of the register: the two middle quarters change places.
    const __m256i ab = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(a, factor)),
                                          _mm256_cvtps_epi32(_mm256_mul_ps(b, factor)));
    const __m256i cd = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(c, factor)),
                                          _mm256_cvtps_epi32(_mm256_mul_ps(d, factor)));
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(integers), _mm256_permute4x64_epi64(ab, 0xd8));
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(integers + 16), _mm256_permute4x64_epi64(cd, 0xd8));
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

// -- products ---------------------------------------------------------------------------------------------------------

// Rows of weights in groups of ROWS. A group's block is ROWS scales of 16 bits, then two columns of each row at a
// time, so that one register holds the same two columns of LANES rows.
struct Matrix {
    int rows, blocks;
    Aligned<uint8_t> bytes;

    Matrix(int rows, int columns)
        : rows(rows), blocks(columns / BLOCK), bytes(size_t(rows) / ROWS * (columns / BLOCK) * GROUP_BLOCK) {}

    int groups() const { return rows / ROWS; }
    uint8_t *group(int number) const { return bytes.data() + size_t(number) * blocks * GROUP_BLOCK; }

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

AVX2_INLINE __m256i widened(const uint8_t *bytes) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(bytes)));
}

AVX2_INLINE __m256 halves(const uint8_t *bytes) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(bytes)));
}

// The products of one group of rows with COUNT tokens, from `first` on: ROWS numbers for each, `stride` apart.
template <int COUNT, bool ADDS>
AVX2 void multiply_tile(const uint8_t *group, const Quantized &input, int first, float *output, size_t stride) {
    __m256 low[COUNT], high[COUNT];
    const int16_t *integers[COUNT];
    const float *scales[COUNT];
    for (int t = 0; t < COUNT; ++t) {
        low[t] = high[t] = _mm256_setzero_ps();
        integers[t] = input.row(first + t);
        scales[t] = input.scales_of(first + t);
    }
    for (int block = 0; block < input.blocks; ++block, group += GROUP_BLOCK) {
        __m256i a[COUNT], b[COUNT];
        for (int t = 0; t < COUNT; ++t) a[t] = b[t] = _mm256_setzero_si256();
#pragma GCC unroll 1 // more of it at once makes the compiler spill the sums
        for (int column = 0; column < BLOCK; column += 2) {
            const uint8_t *weights = group + ROWS * (2 + column);
            const __m256i first_rows = widened(weights), last_rows = widened(weights + 2 * LANES);
            for (int t = 0; t < COUNT; ++t) {
                int32_t two;
                std::memcpy(&two, integers[t] + column, 4);
                const __m256i number = _mm256_set1_epi32(two);
                a[t] = _mm256_add_epi32(a[t], _mm256_madd_epi16(first_rows, number));
                b[t] = _mm256_add_epi32(b[t], _mm256_madd_epi16(last_rows, number));
            }
        }
        const __m256 first_scales = halves(group), last_scales = halves(group + 2 * LANES);
        for (int t = 0; t < COUNT; ++t) {
            const __m256 scale = _mm256_set1_ps(scales[t][block]);
            low[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(a[t]), _mm256_mul_ps(first_scales, scale), low[t]);
            high[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(b[t]), _mm256_mul_ps(last_scales, scale), high[t]);
            integers[t] += BLOCK;
        }
    }
    for (int t = 0; t < COUNT; ++t) {
        float *to = output + (first + t) * stride;
        _mm256_storeu_ps(to, ADDS ? _mm256_add_ps(_mm256_loadu_ps(to), low[t]) : low[t]);
        _mm256_storeu_ps(to + LANES, ADDS ? _mm256_add_ps(_mm256_loadu_ps(to + LANES), high[t]) : high[t]);
    }
}

// The products of `groups` groups, from `first_group` on, with all tokens: a row of `output` for each token, `stride`
// apart. ADDS: they are added to what it holds. Tokens are taken a few at a time: so they stay in the nearest cache.
template <bool ADDS>
void multiply(const Matrix &matrix, int first_group, int groups, const Quantized &input, int tokens, float *output,
              size_t stride) {
    const int run = std::max(1, NEAR_BYTES / (2 * input.columns) / TILE) * TILE;
    for (int begin = 0; begin < tokens; begin += run)
        for (int number = 0; number < groups; ++number) {
            const uint8_t *group = matrix.group(first_group + number);
            float *to = output + number * ROWS;
            const int end = std::min(tokens, begin + run);
            int token = begin;
            for (; token + TILE <= end; token += TILE) multiply_tile<TILE, ADDS>(group, input, token, to, stride);
            if (end - token == 2) multiply_tile<2, ADDS>(group, input, token, to, stride);
            if (end - token == 1) multiply_tile<1, ADDS>(group, input, token, to, stride);
        }
}

// -- attention --------------------------------------------------------------------------------------------------------

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
// `scratch` has room for `heads` times the path in whole LANES. Cells are taken a few at a time: so they stay in the
// nearest cache for all heads.
void attend(const float *queries, const float *keys, const float *values, const int32_t *cells, int count, int heads,
            int dimension, float *scratch, float *output) {
    constexpr int RUN = 32;
    const float scale = 1 / std::sqrt(float(dimension));
    const int room = (count + LANES - 1) / LANES * LANES;
    std::vector<float> most(heads, -INFINITY);
    for (int at = 0; at < count; at += RUN)
        for (int head = 0; head < heads; ++head)
            most[head] = std::max(most[head], score(queries + head * dimension, keys, cells + at, std::min(RUN, count - at),
                                                    dimension, scale, scratch + head * room + at));
    std::memset(output, 0, sizeof(float) * heads * dimension);
    for (float &greatest : most) {
        float *scores = scratch + (&greatest - most.data()) * room;
        greatest = exponentiate(scores, count, greatest); // from here on the sum
    }
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

// -- which cells hold which path --------------------------------------------------------------------------------------

class Cells {
  public:
    Cells(int count, int sequences) : users(count, 0), paths(sequences) {
        for (int cell = count; cell--;) unused.push_back(cell);
    }

    int free() const { return static_cast<int>(unused.size()); }
    const std::vector<int32_t> &path(int sequence) const { return paths.at(sequence); }

    // A new cell at the end of each of the sequences.
    int append(const int32_t *sequences, int count, int position) {
        for (int i = 0; i < count; ++i)
            require(int(path(sequences[i]).size()) == position, "a token that does not continue its sequence");
        require(count > 0 && !unused.empty(), "no sequence for a token, or no free cell");
        const int cell = unused.back();
        unused.pop_back();
        for (int i = 0; i < count; ++i) paths[sequences[i]].push_back(cell);
        users[cell] = count;
        return cell;
    }

    void remove(int sequence, int start) {
        auto &path = paths.at(sequence);
        while (int(path.size()) > start) {
            if (!--users[path.back()]) unused.push_back(path.back());
            path.pop_back();
        }
    }

    void share(int source, int target, int length) {
        require(length <= int(path(source).size()) && path(target).empty(), "nothing to share, or no room for it");
        paths[target].assign(paths[source].begin(), paths[source].begin() + length);
        for (int cell : paths[target]) ++users[cell];
    }

  private:
    std::vector<int32_t> users, unused;
    std::vector<std::vector<int32_t>> paths;
};

// -- the model --------------------------------------------------------------------------------------------------------

struct Layer {
    Aligned<float> attention_norm, feed_norm;
    Matrix projections; // queries, keys, values
    Matrix output;
    Matrix gates; // by turns BLOCK rows of the gate, BLOCK rows that it lets through
    Matrix down;

    Layer(int width, int attended, int kept, int hidden)
        : attention_norm(width), feed_norm(width), projections(attended + 2 * kept, width), output(width, attended),
          gates(2 * hidden, width), down(width, hidden) {}
};

class Transformer {
  public:
    Transformer(int layer_count, int width, int heads, int kv_heads, int dimension, int hidden, int vocab,
                float epsilon, float rope_base, int cells, int sequences, int largest_batch, int threads)
        : width(width), heads(heads), kv_heads(kv_heads), dimension(dimension), hidden(hidden), vocab(vocab),
          epsilon(epsilon), rope_base(rope_base), capacity(cells), largest_batch(largest_batch), team(threads),
          cells(cells, sequences), embedding(padded(vocab), width), last_norm(width),
          residual(size_t(largest_batch) * width),
          projected(size_t(largest_batch) * (heads + 2 * kv_heads) * dimension),
          turns(size_t(largest_batch) * dimension), logits(0), normed(largest_batch, width),
          attended(largest_batch, heads * dimension), gated(largest_batch, hidden) {
        require(layer_count > 0 && width % BLOCK == 0 && hidden % BLOCK == 0 && dimension % BLOCK == 0 && kv_heads > 0 &&
                    heads % kv_heads == 0 && cells > 0 && sequences > 0 && threads > 0,
                "sizes that this forward pass cannot do");
        for (int i = 0; i < layer_count; ++i) layers.emplace_back(width, heads * dimension, kv_heads * dimension, hidden);
        // Not touched before they are used, so they cost no memory until then.
        const size_t kept = size_t(layer_count) * kv_heads * cells * dimension;
        keys = Aligned<float>(kept);
        values = Aligned<float>(kept);
        scratch.resize(threads);
    }

    // -- weights ------------------------------------------------------------------------------------------------------

    void set_norm(int layer, const std::string &name, In<float> weights) {
        require(int(weights.size()) == width, "a norm of another width");
        Aligned<float> &to = name == "output_norm" ? last_norm
                             : name == "attn_norm" ? layers.at(layer).attention_norm
                                                   : layers.at(layer).feed_norm;
        std::memcpy(to.data(), weights.data(), width * sizeof(float));
    }

    // Takes a matrix as the bytes of its blocks in the file.
    void set_matrix(int layer, const std::string &name, In<uint8_t> bytes) {
        const int attended_rows = heads * dimension, kept = kv_heads * dimension, unit = BLOCK / ROWS;
        if (name == "attn_q") return fill(layers.at(layer).projections, bytes, attended_rows, 0, 1, 1);
        if (name == "attn_k") return fill(layers.at(layer).projections, bytes, kept, attended_rows / ROWS, 1, 1);
        if (name == "attn_v")
            return fill(layers.at(layer).projections, bytes, kept, (attended_rows + kept) / ROWS, 1, 1);
        if (name == "attn_output") return fill(layers.at(layer).output, bytes, width, 0, 1, 1);
        if (name == "ffn_gate") return fill(layers.at(layer).gates, bytes, hidden, 0, unit, 2 * unit);
        if (name == "ffn_up") return fill(layers.at(layer).gates, bytes, hidden, unit, unit, 2 * unit);
        if (name == "ffn_down") return fill(layers.at(layer).down, bytes, width, 0, 1, 1);
        if (name == "token_embd") return fill(embedding, bytes, vocab, 0, 1, 1);
        if (name == "output") {
            head = std::make_unique<Matrix>(padded(vocab), width);
            return fill(*head, bytes, vocab, 0, 1, 1);
        }
        throw nb::value_error("a matrix of unknown name");
    }

    // -- cells --------------------------------------------------------------------------------------------------------

    int free_cells() const { return cells.free(); }
    void remove(int sequence, int start) { cells.remove(sequence, start); }
    void share(int source, int target, int length) { cells.share(source, target, length); }
    size_t state_floats(int sequence) const {
        return 2 * layers.size() * kv_heads * cells.path(sequence).size() * dimension;
    }

    void save(int sequence, nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu> state) const {
        require(state.size() == state_floats(sequence), "a state of another length");
        float *to = state.data();
        each_row(sequence, [&](float *row) {
            std::memcpy(to, row, dimension * sizeof(float));
            to += dimension;
        });
    }

    // Fills an empty sequence. False if there is no room.
    bool restore(int sequence, In<float> state) {
        const size_t a_cell = 2 * layers.size() * kv_heads * dimension, length = state.size() / a_cell;
        require(state.size() % a_cell == 0 && cells.path(sequence).empty(), "no state, or a sequence that is in use");
        if (length > size_t(cells.free())) return false;
        for (size_t position = 0; position < length; ++position) cells.append(&sequence, 1, int(position));
        const float *from = state.data();
        each_row(sequence, [&](float *row) {
            std::memcpy(row, from, dimension * sizeof(float));
            from += dimension;
        });
        return true;
    }

    // -- evaluating ---------------------------------------------------------------------------------------------------

    // Appends the tokens to their sequences, token i to sequences[starts[i]:starts[i + 1]]; returns (asked, vocab)
    // logits, valid until the next call, or None if `flag` was set meanwhile.
    nb::object evaluate(In<int32_t> tokens, In<int32_t> positions, In<int32_t> starts, In<int32_t> sequences,
                        In<int32_t> asked, In<uint8_t> flag) {
        const int count = int(tokens.size()), asked_count = int(asked.size());
        require(count > 0 && count <= largest_batch, "a batch that is empty or too large");
        require(int(positions.size()) == count && int(starts.size()) == count + 1 && flag.size() > 0 &&
                    starts.data()[0] >= 0 && starts.data()[count] <= int(sequences.size()),
                "arrays that do not fit together");
        require(count <= cells.free(), "no free cell");
        for (int i = 0; i < count; ++i)
            require(tokens.data()[i] >= 0 && tokens.data()[i] < vocab, "a token that is none");
        for (int i = 0; i < asked_count; ++i)
            require(asked.data()[i] >= 0 && asked.data()[i] < count, "asked for a row that is none");
        own.resize(count);
        of_token.resize(count);
        for (int i = 0; i < count; ++i) {
            const int32_t *first = sequences.data() + starts.data()[i];
            own[i] = cells.append(first, starts.data()[i + 1] - starts.data()[i], positions.data()[i]);
            of_token[i] = *first;
        }
        if (asked_count > logit_rows) {
            logit_rows = asked_count;
            logits = Aligned<float>(size_t(asked_count) * padded(vocab));
        }
        bool is_done;
        {
            nb::gil_scoped_release released;
            is_done = forward(tokens.data(), positions.data(), count, asked.data(), asked_count, flag.data());
        }
        if (!is_done) return nb::none();
        size_t shape[2] = {size_t(asked_count), size_t(vocab)};
        int64_t strides[2] = {padded(vocab), 1};
        return nb::cast(nb::ndarray<nb::numpy, const float>(logits.data(), 2, shape, nb::find(this), strides));
    }

  private:
    static int padded(int rows) { return (rows + ROWS - 1) / ROWS * ROWS; }

    // Rows of a file's matrix into groups: `run` of them from `first` on, then again `step` further.
    void fill(Matrix &matrix, In<uint8_t> bytes, int rows, int first, int run, int step) {
        const size_t row_bytes = size_t(matrix.blocks) * FILE_BLOCK;
        require(bytes.size() == rows * row_bytes, "a matrix of another size");
        const int groups = (rows + ROWS - 1) / ROWS;
        const uint8_t *file = bytes.data();
        nb::gil_scoped_release released;
        team.run((groups + 63) / 64, [&](int chunk, int) {
            for (int group = chunk * 64; group < std::min(groups, chunk * 64 + 64); ++group) {
                const int to = first + group / run * step + group % run;
                if ((group + 1) * ROWS <= rows) {
                    matrix.fill(to, file + size_t(group) * ROWS * row_bytes);
                } else { // the last rows, and rows of nothing
                    std::vector<uint8_t> last(ROWS * row_bytes);
                    std::memcpy(last.data(), file + size_t(group) * ROWS * row_bytes,
                                (rows - group * ROWS) * row_bytes);
                    matrix.fill(to, last.data());
                }
            }
        });
    }

    float *cache_row(const Aligned<float> &cache, int layer, int kv_head, int cell) const {
        return cache.data() + ((size_t(layer) * kv_heads + kv_head) * capacity + cell) * dimension;
    }

    template <typename Visit> void each_row(int sequence, Visit visit) const {
        for (const Aligned<float> *cache : {&keys, &values})
            for (int layer = 0; layer < int(layers.size()); ++layer)
                for (int kv_head = 0; kv_head < kv_heads; ++kv_head)
                    for (int cell : cells.path(sequence)) visit(cache_row(*cache, layer, kv_head, cell));
    }

    // Groups of rows of a matrix times `input`, by the whole team.
    template <bool ADDS>
    void multiply_all(const Matrix &matrix, const Quantized &input, int tokens, float *output, size_t stride) {
        const int groups = matrix.groups(), chunk_groups = std::max(1, groups / (8 * team.size()));
        team.run((groups + chunk_groups - 1) / chunk_groups, [&](int chunk, int) {
            const int first = chunk * chunk_groups;
            multiply<ADDS>(matrix, first, std::min(chunk_groups, groups - first), input, tokens, output + first * ROWS,
                           stride);
        });
    }

    // Calls work(token) for each, a few at a time.
    template <typename Work> void each_token(int tokens, const Work &work) {
        team.run((tokens + 7) / 8, [&](int chunk, int) {
            for (int token = chunk * 8; token < std::min(tokens, chunk * 8 + 8); ++token) work(token);
        });
    }

    bool forward(const int32_t *tokens, const int32_t *positions, int count, const int32_t *asked, int asked_count,
                 const uint8_t *flag) {
        each_token(count, [&](int token) {
            embedding.row(tokens[token], residual.data() + size_t(token) * width);
            turn(positions[token], turns.data() + size_t(token) * dimension);
        });
        for (int number = 0; number < int(layers.size()); ++number) {
            if (*static_cast<const volatile uint8_t *>(flag)) return false;
            const Layer &layer = layers[number];
            norm(layer.attention_norm, count);
            project(number, count);
            attend_all(number, positions, count);
            multiply_all<true>(layer.output, attended, count, residual.data(), width);
            norm(layer.feed_norm, count);
            gate(layer, count);
            multiply_all<true>(layer.down, gated, count, residual.data(), width);
        }
        for (int i = 0; i < asked_count; ++i)
            normalize(residual.data() + size_t(asked[i]) * width, last_norm.data(), width, epsilon, normed.row(i),
                      normed.scales_of(i));
        multiply_all<false>(head ? *head : embedding, normed, asked_count, logits.data(), padded(vocab));
        return true;
    }

    void norm(const Aligned<float> &weights, int count) {
        each_token(count, [&](int token) {
            normalize(residual.data() + size_t(token) * width, weights.data(), width, epsilon, normed.row(token),
                      normed.scales_of(token));
        });
    }

    // Cosines and sines of a position, by turns.
    void turn(int position, float *numbers) const {
        for (int i = 0; i < dimension; i += 2) {
            const double angle = position * std::pow(double(rope_base), -double(i) / dimension);
            numbers[i] = float(std::cos(angle));
            numbers[i + 1] = float(std::sin(angle));
        }
    }

    void rotate(float *numbers, const float *by) const {
        for (int i = 0; i < dimension; i += 2) {
            const float a = numbers[i], b = numbers[i + 1];
            numbers[i] = a * by[i] - b * by[i + 1];
            numbers[i + 1] = a * by[i + 1] + b * by[i];
        }
    }

    // Queries, keys and values; the latter two into their cells. A chunk is a head.
    void project(int number, int count) {
        const Matrix &matrix = layers[number].projections;
        const int groups = dimension / ROWS;
        const size_t stride = matrix.rows;
        team.run(heads + 2 * kv_heads, [&](int part, int) {
            float *output = projected.data() + size_t(part) * dimension;
            multiply<false>(matrix, part * groups, groups, normed, count, output, stride);
            for (int token = 0; token < count; ++token) {
                float *numbers = output + token * stride;
                if (part < heads + kv_heads) rotate(numbers, turns.data() + size_t(token) * dimension);
                if (part < heads) continue;
                const bool is_key = part < heads + kv_heads;
                float *to = is_key ? cache_row(keys, number, part - heads, own[token])
                                   : cache_row(values, number, part - heads - kv_heads, own[token]);
                std::memcpy(to, numbers, dimension * sizeof(float));
            }
        });
    }

    // A chunk is the heads of one token that share keys and values.
    void attend_all(int number, const int32_t *positions, int count) {
        const int group = heads / kv_heads, part = group * dimension;
        team.run(count * kv_heads, [&](int chunk, int thread) {
            const int token = chunk / kv_heads, kv_head = chunk % kv_heads, length = positions[token] + 1;
            float *seen = room_of(thread, size_t(group) * (length + LANES) + part);
            const float *queries = projected.data() + size_t(token) * layers[number].projections.rows + size_t(kv_head) * part;
            attend(queries, cache_row(keys, number, kv_head, 0), cache_row(values, number, kv_head, 0),
                   cells.path(of_token[token]).data(), length, group, dimension, seen + part, seen);
            quantize(seen, part, attended.row(token) + kv_head * part, attended.scales_of(token) + kv_head * part / BLOCK);
        });
    }

    float *room_of(int thread, size_t floats) {
        if (scratch[thread].size() < floats) scratch[thread].resize(2 * floats);
        return scratch[thread].data();
    }

    // A chunk is BLOCK numbers of the hidden layer.
    void gate(const Layer &layer, int count) {
        constexpr int GROUPS = 2 * BLOCK / ROWS;
        team.run(hidden / BLOCK, [&](int unit, int thread) {
            float *numbers = room_of(thread, size_t(count) * 2 * BLOCK);
            multiply<false>(layer.gates, unit * GROUPS, GROUPS, normed, count, numbers, 2 * BLOCK);
            for (int token = 0; token < count; ++token) {
                const float *gates = numbers + size_t(token) * 2 * BLOCK;
                gate_block(gates, gates + BLOCK, gated.row(token) + unit * BLOCK, gated.scales_of(token) + unit);
            }
        });
    }

    const int width, heads, kv_heads, dimension, hidden, vocab;
    const float epsilon, rope_base;
    const int capacity, largest_batch;
    Team team;
    Cells cells;
    std::vector<Layer> layers;
    Matrix embedding;
    std::unique_ptr<Matrix> head;
    Aligned<float> last_norm, keys, values, residual, projected, turns, logits;
    int logit_rows = 0;
    Quantized normed, attended, gated;
    std::vector<int32_t> own, of_token; // cells of the batch's tokens, and a sequence of each
    std::vector<std::vector<float>> scratch;
};

#endif

} // namespace

NB_MODULE(_transformer, module) {
    module.def("is_supported", &is_supported);
#ifdef MIDWORD_AVX2
    nb::class_<Transformer>(module, "Transformer")
        .def(nb::init<int, int, int, int, int, int, int, float, float, int, int, int, int>(), nb::kw_only(),
             nb::arg("layers"), nb::arg("width"), nb::arg("heads"), nb::arg("kv_heads"), nb::arg("dimension"),
             nb::arg("hidden"), nb::arg("vocab"), nb::arg("epsilon"), nb::arg("rope_base"), nb::arg("cells"),
             nb::arg("sequences"), nb::arg("largest_batch"), nb::arg("threads"))
        .def("set_norm", &Transformer::set_norm)
        .def("set_matrix", &Transformer::set_matrix)
        .def_prop_ro("free_cells", &Transformer::free_cells)
        .def("remove", &Transformer::remove)
        .def("share", &Transformer::share)
        .def("state_floats", &Transformer::state_floats)
        .def("save", &Transformer::save)
        .def("restore", &Transformer::restore)
        .def("evaluate", &Transformer::evaluate);
#endif
}
