"""torch.compile, once for each function."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled for shapes that stay the same."""
    return torch.compile(function, dynamic=False)
