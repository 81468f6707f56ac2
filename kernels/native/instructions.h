// The sets of instructions that the forward pass is written in, by name.

#pragma once

#include <string>
#include <vector>

#include "narrow.h"
#include "wide.h"

namespace {

constexpr const char *NARROW = "avx2", *WIDE = "avx512_vnni";

// Those that this processor has, the best ones first; none if it cannot do a forward pass.
std::vector<std::string> instructions() {
    std::vector<std::string> found;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) return found;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        found.push_back(WIDE);
    found.push_back(NARROW);
    return found;
}

} // namespace
