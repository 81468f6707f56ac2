// Rows of logits as natural log-probabilities, and the memory that they are kept in.

#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

// One copy of a loop for processors with AVX2 and FMA, one for all others of the kind; chosen when loaded.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define FAST_CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__GLIBC__) && (__GNUC__ >= 8 || __clang_major__ >= 14)
#define FAST_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define FAST_CLONES
#endif
#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
#define RESTRICT __restrict__
#else
#define INLINE inline
#define RESTRICT
#endif

namespace rows {

// A token that is at least a two-thousandth as likely as its row's likeliest one, and its natural log-probability.
struct Likeliest {
    int32_t token;
    double log;
};
using Glance = std::vector<Likeliest>; // by increasing token
constexpr double LEAST_LOG_SHARE = -7.6;
constexpr size_t TOO_MANY = 2048; // tokens for a glance, which has none then

// Memory of whole rows, used again: the first touch of fresh pages costs more than the arithmetic on a row.
class Blocks {
  public:
    struct Free {
        void operator()(double *block) const;
    };
    using Owned = std::unique_ptr<double, Free>;

    // Room for `count` numbers behind a header that holds the count.
    Owned take(size_t count) {
        std::lock_guard<std::mutex> lock(mutex);
        for (auto block = kept.begin(); block != kept.end(); ++block) {
            if (size_of(*block) != count) continue;
            Owned found(*block);
            kept.erase(block);
            return found;
        }
        double *block = new double[HEADER + count];
        std::memcpy(block, &count, sizeof count);
        return Owned(block + HEADER);
    }

    void give(double *block) noexcept {
        std::lock_guard<std::mutex> lock(mutex);
        glances.erase(block);
        if (size_of(block) >= WORTH_KEEPING && kept.size() < MOST) return kept.push_back(block);
        delete[] (block - HEADER);
    }

    // Keeps what a row that nobody will change tells at a glance, as long as the row.
    void note(const double *row, Glance glance) {
        std::lock_guard<std::mutex> lock(mutex);
        glances.insert_or_assign(row, std::move(glance));
    }

    // Null where none was noted.
    const Glance *glance(const double *row) {
        std::lock_guard<std::mutex> lock(mutex);
        const auto found = glances.find(row);
        return found == glances.end() ? nullptr : &found->second;
    }

  private:
    static constexpr size_t HEADER = 4, WORTH_KEEPING = 4096, MOST = 16;

    static size_t size_of(const double *block) {
        size_t count;
        std::memcpy(&count, block - HEADER, sizeof count);
        return count;
    }

    std::mutex mutex;
    std::vector<double *> kept = [] {
        std::vector<double *> none;
        none.reserve(MOST);
        return none;
    }();
    std::unordered_map<const double *, Glance> glances;
};

inline Blocks &blocks() {
    static Blocks *all = new Blocks; // never destroyed: arrays may outlive it
    return *all;
}

inline void Blocks::Free::operator()(double *block) const { blocks().give(block); }

// Hands an array over to Python.
template <typename Number = double> auto fresh_rows(Blocks::Owned values, std::initializer_list<size_t> shape) {
    double *held = values.release();
    nanobind::capsule owner(held, [](void *p) noexcept { blocks().give(static_cast<double *>(p)); });
    return nanobind::ndarray<nanobind::numpy, Number>(held, shape, owner);
}

// One row with what it tells at a glance, which nobody may change for that.
inline auto fresh_row(Blocks::Owned values, size_t count, Glance glance) {
    blocks().note(values.get(), std::move(glance));
    return fresh_rows<const double>(std::move(values), {count});
}

namespace {

// -- exponentials ---------------------------------------------------------------------------------

constexpr size_t LANES = 8, BLOCK = 512;
constexpr double LEAST_LOG = -708.0;

// e^x for x <= 0, to an ulp or two; 0 below LEAST_LOG, NaN for NaN. x = k ln 2 + r, |r| <= ln 2 / 2,
// e^r by its Taylor polynomial, whose next term is 5e-18.
INLINE double exp_of(double x) {
    const double shift = 0x1.8p52;
    const double shifted = x * 0x1.71547652b82fep0 + shift;
    const double k = shifted - shift;
    const double r = (x - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    uint64_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52;
    double scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return x < LEAST_LOG ? 0.0 : p * scale;
}

FAST_CLONES float greatest(const float *values, size_t count) {
    float lanes[2 * LANES];
    std::fill(lanes, lanes + 2 * LANES, -std::numeric_limits<float>::infinity());
    size_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES)
        for (size_t lane = 0; lane < 2 * LANES; ++lane)
            lanes[lane] = values[i + lane] > lanes[lane] ? values[i + lane] : lanes[lane];
    for (; i < count; ++i) lanes[0] = std::max(lanes[0], values[i]);
    return *std::max_element(lanes, lanes + 2 * LANES);
}

INLINE double sum(const double *values, size_t count) {
    double lanes[LANES] = {};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t lane = 0; lane < LANES; ++lane) lanes[lane] += values[i + lane];
    for (; i < count; ++i) lanes[0] += values[i];
    double total = 0;
    for (double part : lanes) total += part;
    return total;
}

// Sums of e^(value - peak), one for each block of the values.
FAST_CLONES void sums_of_exp(const float *values, size_t count, double peak, double *sums) {
    double block[BLOCK];
    for (size_t start = 0; start < count; start += BLOCK) {
        const size_t size = std::min(BLOCK, count - start);
        for (size_t i = 0; i < size; ++i) block[i] = exp_of(values[start + i] - peak);
        *sums++ = sum(block, size);
    }
}

inline size_t blocks_of(size_t count) { return (count + BLOCK - 1) / BLOCK; }

// The natural log of the sum of all, from the sums of the blocks: in their order, whoever computed them.
inline double log_of_total(const double *sums, size_t blocks) {
    double total = 0;
    for (size_t i = 0; i < blocks; ++i) total += sums[i];
    if (!(total > 0)) throw nanobind::value_error("a row of logits has NaN, +inf or nothing but -inf");
    return std::log(total);
}

FAST_CLONES void subtract(const float *values, size_t count, double peak, double log_total, double *out) {
    for (size_t i = 0; i < count; ++i) out[i] = (values[i] - peak) - log_total;
}

// Adds those of a row's numbers from `first` on that belong into its glance; `peak` is the greatest one of all.
inline void add_likeliest(const float *values, size_t first, size_t count, double peak, const double *logs, Glance &found) {
    constexpr size_t AT_ONCE = 64;
    for (size_t start = 0; start < count; start += AT_ONCE) {
        const size_t end = std::min(count, start + AT_ONCE);
        if (!(greatest(values + start, end - start) - peak >= LEAST_LOG_SHARE)) continue;
        for (size_t i = start; i < end; ++i)
            if (values[i] - peak >= LEAST_LOG_SHARE) found.push_back({static_cast<int32_t>(first + i), logs[i]});
    }
}

} // namespace
} // namespace rows
