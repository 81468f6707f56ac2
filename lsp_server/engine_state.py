"""How the engine is, for people: one frozen value that `engine_client` replaces when it changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Phase = Literal["starting", "loading", "ready", "failed", "down"]
"""No process yet; a process without a model yet; it answers; the model cannot be had; the process ended."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """State of one engine client."""

    phase: Phase
    model: str = ""
    """The model's name, once it is open."""
    sentence: str = ""
    """Why it failed or ended, or what it does before it can answer."""
    percent: int | None = None
    """Of that step, if its size is known."""
    restarts: int = 0
    """Lives of the process after the first."""

    def at(self, step: str, done_bytes: int, total_bytes: int | None) -> EngineState:
        """The state with a step of loading that has come this far."""
        percent = min(100, 100 * done_bytes // total_bytes) if total_bytes else None
        return replace(self, sentence=step, percent=percent)
