"""What is measured: something that completes at a cursor. midword itself is one such peer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lsp_server.replay.buffer import Buffer, Change


@dataclass(frozen=True, slots=True)
class Ghost:
    """What is shown at the cursor; empty text: nothing."""

    text: str = ""
    position: tuple[int, int] | None = None
    """Where it is to be inserted, if the peer says so."""


@dataclass(slots=True)
class Cost:
    """What one piece of the engine's work cost. `purpose` is `asked` for what a key has caused."""

    key: int
    purpose: str
    outcome: str = "running"
    prompt_tokens: int = 0
    """Of the prompt, evaluated now."""
    decode_tokens: int = 0
    evaluations: int = 0
    prompt_ms: float = 0.0
    total_ms: float = 0.0
    cancel_ms: float | None = None
    was_used: bool = False
    """Whether any of its text was shown."""


class Peer(Protocol):
    """Completes one document."""

    name: str
    costs: list[Cost]
    start_ms: dict[str, float]
    """How long the start took, by step."""

    async def open(self, buffer: Buffer) -> None:
        """Start, and load the document."""
        ...

    def changed(self, buffer: Buffer, change: Change) -> None:
        """The document was edited."""
        ...

    async def ask(self, buffer: Buffer, key: int) -> Ghost:
        """What to show at the cursor. Cancelling the task withdraws the question."""
        ...

    def pids(self) -> list[int]:
        """The processes that do the work."""
        ...

    async def close(self) -> None:
        """End all processes."""
        ...
