"""What processes have used, as Linux' /proc tells it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import InputError


@dataclass(frozen=True, slots=True)
class Used:
    """CPU time so far, and the largest resident memory ever, of some processes together."""

    cpu_s: float
    peak_mb: float
    """Resident set, pages of the model file included. Their peaks need not have been at one time."""
    anonymous_mb: float
    """Resident now and not backed by a file."""


def used(pids: Sequence[int]) -> Used:
    """Raises InputError where there is no /proc."""
    try:
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
        status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    except OSError:
        raise InputError("CPU time and memory are read from Linux' /proc, which is not here") from None
    ticks = sum(int(field[11]) + int(field[12]) for field in fields)
    return Used(
        cpu_s=ticks / os.sysconf("SC_CLK_TCK"),
        peak_mb=sum(_kilobytes(text, "VmHWM") for text in status) / 1000,
        anonymous_mb=sum(_kilobytes(text, "RssAnon") for text in status) / 1000,
    )


def children(pid: int) -> list[int]:
    """The child processes of `pid`."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _kilobytes(status: str, name: str) -> float:
    """A field of /proc/PID/status, in units of 1000 bytes."""
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1.024
