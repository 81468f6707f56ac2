// Eight numbers at a time: what the parts of the forward pass share.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>
#include <vector>

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#include <unistd.h>
#endif

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX2_INLINE inline __attribute__((always_inline, target("avx2,fma,f16c")))

// Before a loop over an array of registers: left to itself, the compiler unrolls it after it has put the array into memory.
#define UNROLL _Pragma("GCC unroll 8")

namespace {

constexpr int LANES = 8;         // numbers in a register
constexpr int BLOCK = 32;        // columns with one scale
constexpr int LINE = 64;         // bytes that memory gives at once
constexpr float LARGEST = 32767; // of a 16-bit integer

template <typename T> struct Aligned {
    struct Free {
        void operator()(T *numbers) const { ::operator delete[](numbers, std::align_val_t(64)); }
    };
    std::unique_ptr<T[], Free> numbers;

    explicit Aligned(size_t count = 0)
        : numbers(static_cast<T *>(::operator new[](count * sizeof(T) + 64, std::align_val_t(64)))) {}
    T *data() const { return numbers.get(); }
};

// Gives memory back, as far as it is whole pages; what it holds is lost.
inline void give_back(void *begin, void *end) {
#ifdef MADV_DONTNEED
    const uintptr_t page = sysconf(_SC_PAGESIZE);
    const uintptr_t from = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
    const uintptr_t to = reinterpret_cast<uintptr_t>(end) / page * page;
    if (from < to) madvise(reinterpret_cast<void *>(from), to - from, MADV_DONTNEED);
#endif
}

// Memory that is read from end to end for each token: in large pages where the system has them, so that few addresses
// are looked up. What was taken comes back as a whole.
class Arena {
  public:
    // `bytes` that begin at a multiple of LINE.
    uint8_t *take(size_t bytes) {
        bytes = (bytes + LINE - 1) / LINE * LINE;
        if (bytes > left) add(std::max(bytes, CHUNK));
        uint8_t *found = next;
        next += bytes, left -= bytes;
        return found;
    }

  private:
    static constexpr size_t PAGE = size_t(2) << 20, CHUNK = 16 * PAGE;
    struct Free {
        void operator()(uint8_t *bytes) const { ::operator delete[](bytes, std::align_val_t(PAGE)); }
    };

    void add(size_t bytes) {
        left = (bytes + PAGE - 1) / PAGE * PAGE;
        next = static_cast<uint8_t *>(::operator new[](left, std::align_val_t(PAGE)));
        chunks.emplace_back(next);
#ifdef MADV_HUGEPAGE
        madvise(next, left, MADV_HUGEPAGE);
#endif
    }

    std::vector<std::unique_ptr<uint8_t, Free>> chunks;
    uint8_t *next = nullptr;
    size_t left = 0;
};

// Asks memory for the line at an address that is needed soon, so that computing need not wait for it: into the nearest cache,
// or early into the next one. In assembly, as compilers may take a call for this alone to be without effect, and leave it out.
inline void fetch(const void *address) { asm volatile("prefetcht0 %0" ::"m"(*static_cast<const char *>(address))); }
inline void fetch_early(const void *address) { asm volatile("prefetcht1 %0" ::"m"(*static_cast<const char *>(address))); }

// Two integers side by side.
inline int32_t two_of(const int16_t *integers) {
    int32_t two;
    std::memcpy(&two, integers, sizeof two);
    return two;
}

AVX2_INLINE float sum_of(__m256 v) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

// Of `count` numbers, a multiple of LANES.
AVX2 inline float dot_product(const float *a, const float *b, int count) {
    __m256 sum = _mm256_setzero_ps();
    for (int i = 0; i < count; i += LANES) sum = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), sum);
    return sum_of(sum);
}

// 1 / scale; 0 for numbers that are all 0.
AVX2_INLINE __m256 inverse(float scale) { return _mm256_set1_ps(scale > 0 ? 1 / scale : 0); }

// Sixteen numbers times a factor as integers of 16 bits. Packing works in halves of the register: the two middle quarters
// change places.
AVX2_INLINE __m256i packed(__m256 a, __m256 b, __m256 factor) {
    const __m256i first = _mm256_cvtps_epi32(_mm256_mul_ps(a, factor)), last = _mm256_cvtps_epi32(_mm256_mul_ps(b, factor));
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(first, last), 0xd8);
}

AVX2_INLINE float greatest_of(__m256 v) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

// e^x is 2^n times a polynomial of what is left, x - n ln 2, which lies within ± ln 2 / 2.
constexpr float LEAST_POWER = -87, GREATEST_POWER = 88; // that do not leave the numbers
constexpr float LOG2_E = 1.44269504f, LN2_HIGH = 0.693145752f, LN2_LOW = 1.42860677e-6f;
constexpr float EXP_FACTORS[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};

// e^x to a relative 2e-7.
AVX2_INLINE __m256 exp_of(__m256 x) {
    x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(LEAST_POWER)), _mm256_set1_ps(GREATEST_POWER));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(LOG2_E)), _MM_FROUND_TO_NEAREST_INT);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN2_HIGH), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN2_LOW), r);
    __m256 sum = _mm256_set1_ps(EXP_FACTORS[0]);
    UNROLL for (size_t i = 1; i < std::size(EXP_FACTORS); ++i)
        sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(EXP_FACTORS[i]));
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(sum, _mm256_castsi256_ps(power));
}

} // namespace
