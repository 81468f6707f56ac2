"""The kernels of the engine: native where they were compiled, else their NumPy definitions.

Contracts are in kernels/README.md, shapes and errors in `engine_kernels.numpy_reference`. Nothing else
knows which ones run. The environment variable MIDWORD_KERNELS=numpy keeps to NumPy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TypeVar

from engine_kernels import numpy_reference

Function = TypeVar("Function", bound=Callable[..., object])


def _native() -> ModuleType | None:
    if os.environ.get("MIDWORD_KERNELS") == "numpy":
        return None
    try:
        module = import_module("engine_kernels._native")
    except ImportError:
        return None
    return module if getattr(module, "CONTRACT", 0) == numpy_reference.CONTRACT else None


NATIVE = _native()
"""The compiled module, None where NumPy does its work."""


def _fastest(definition: Function) -> Function:
    fastest: Function = getattr(NATIVE, definition.__name__, definition)  # an older build may lack it
    return fastest


NEVER = numpy_reference.NEVER
STOP = numpy_reference.STOP
MORE_THAN_HALF = numpy_reference.MORE_THAN_HALF
ByteTables = numpy_reference.ByteTables
Forest = numpy_reference.Forest
SuccessorRule = numpy_reference.SuccessorRule
Successors = numpy_reference.Successors
allowed_rows = _fastest(numpy_reference.allowed_rows)
choose_tokens = _fastest(numpy_reference.choose_tokens)
likeliest = _fastest(numpy_reference.likeliest)
log_softmax = _fastest(numpy_reference.log_softmax)
merge_symbols = _fastest(numpy_reference.merge_symbols)
pair_mask = _fastest(numpy_reference.pair_mask)
sorted_weights = _fastest(numpy_reference.sorted_weights)
successor_mask = _fastest(numpy_reference.successor_mask)
sums_by_byte = _fastest(numpy_reference.sums_by_byte)
sums_of_groups = _fastest(numpy_reference.sums_of_groups)
two_greatest = _fastest(numpy_reference.two_greatest)
