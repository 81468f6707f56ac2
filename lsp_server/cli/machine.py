"""Facts about this machine for `midword doctor`: packages, processor, memory. Nothing is imported."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

ESSENTIAL = ("llama-cpp-python", "pygls", "lsprotocol", "msgpack", "numpy")
OPTIONAL = ("torch", "transformers", "huggingface_hub")

_FEATURES = {
    "avx": "AVX", "avx2": "AVX2", "fma": "FMA", "f16c": "F16C", "avx_vnni": "AVX_VNNI", "avx512f": "AVX512",
    "avx512_vnni": "AVX512_VNNI", "avx512_bf16": "AVX512_BF16", "amx_int8": "AMX_INT8",
    "asimd": "NEON", "asimddp": "DOTPROD", "i8mm": "MATMUL_INT8", "sve": "SVE",
}  # fmt: skip
"""Flag in /proc/cpuinfo → the name llama.cpp reports it by."""


@dataclass(frozen=True, slots=True)
class Processor:
    """What the system says of the processor; empty or zero where it does not say."""

    name: str
    processors: int
    """Logical processors of the machine: the number of threads the engine starts."""
    allowed: float
    """Of these, how many this process may keep busy: affinity and container quota."""
    load: float
    """Runnable processes over the last minute."""
    features: tuple[str, ...]
    """Those that matter to llama.cpp, by its names."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; 0 where the system does not say."""

    total_bytes: int
    available_bytes: int


def packages() -> dict[str, str | None]:
    """Distribution → version, None if it is not installed."""
    return {name: _version(name) for name in (*ESSENTIAL, *OPTIONAL)}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> Processor:
    """The processor of this machine."""
    cpuinfo = _fields(Path("/proc/cpuinfo"))
    flags = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    count = os.cpu_count() or 1
    return Processor(
        name=cpuinfo.get("model name") or platform.processor() or platform.machine(),
        processors=count,
        allowed=min(_affinity(count), _quota(count)),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        features=tuple(name for flag, name in _FEATURES.items() if flag in flags),
    )


def _affinity(count: int) -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else count


def _quota(count: int, path: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """Processors a container's quota amounts to, `count` without one."""
    try:
        quota, period = path.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        return float(count)


def memory() -> Memory:
    """Main memory of this machine."""
    meminfo = _fields(Path("/proc/meminfo"))

    def of(name: str) -> int:
        return int(meminfo.get(name, "0").split()[0]) * 1024

    return Memory(of("MemTotal"), of("MemAvailable"))


def _fields(path: Path) -> dict[str, str]:
    """`name: value` lines, the first of each name; {} where there is no such file."""
    found: dict[str, str] = {}
    try:
        text = path.read_text()
    except OSError:
        return found
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found
