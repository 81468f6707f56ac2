"""Making a GGUF of another weight type with llama.cpp's own quantiser."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.backends.openmp import spin_briefly
from engine.errors import BackendError

WEIGHT_TYPES = {
    "f32": 0, "f16": 1, "bf16": 32, "q8_0": 7, "q6_k": 18,
    "q5_0": 8, "q5_1": 9, "q5_k_s": 16, "q5_k_m": 17,
    "q4_0": 2, "q4_1": 3, "q4_k_s": 14, "q4_k_m": 15, "iq4_nl": 25, "iq4_xs": 30,
    "q3_k_m": 12, "q2_k": 10,
}  # fmt: skip
"""Name → `enum llama_ftype`. Matrices whose rows a type cannot divide get the nearest type that can."""


def llama_cpp() -> Any:
    """The low-level bindings. Raises BackendError with the command that installs them."""
    spin_briefly()
    try:
        import llama_cpp.llama_cpp as low_level
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendError(
            f"llama-cpp-python cannot be loaded ({error}); run `pip install llama-cpp-python`"
        ) from None
    return low_level


@contextmanager
def quiet(low_level: Any) -> Iterator[list[str]]:
    """Take llama.cpp's log lines into the yielded list, and give back the former log callback after."""
    lines: list[str] = []

    @low_level.llama_log_callback  # type: ignore[untyped-decorator]
    def keep(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
        lines.append(text.decode("utf-8", "replace"))

    former, former_data = low_level.llama_log_callback(), ctypes.c_void_p()
    low_level.llama_log_get(ctypes.byref(former), ctypes.byref(former_data))
    low_level.llama_log_set(keep, ctypes.c_void_p())
    try:
        yield lines
    finally:
        low_level.llama_log_set(former, former_data)


def requantize(source: Path, target: Path, weights: str, *, pure: bool = False) -> None:
    """Write `source` with weight type `weights` to `target`, which is overwritten; seconds for 135M.

    `pure`: all matrices get that type, also those that llama.cpp gives a finer one, such as the embedding.
    Raises BackendError; `target` may then be half-written and is the caller's to remove.
    """
    low_level = llama_cpp()
    params = low_level.llama_model_quantize_default_params()
    params.ftype = WEIGHT_TYPES[weights]
    params.nthread = os.cpu_count() or 1
    params.allow_requantize, params.pure = True, pure
    with quiet(low_level) as lines:
        failed = low_level.llama_model_quantize(
            os.fsencode(source), os.fsencode(target), ctypes.byref(params)
        )
    if failed:
        said = next(
            (line.strip() for line in reversed(lines) if "fail" in line or "error" in line), "no reason"
        )
        raise BackendError(f"llama.cpp could not make {weights} weights of {source}: {said}")
