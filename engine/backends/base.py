"""What the engine asks of a model: score a token tree."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from engine.drafts.nearest import Alike, Places
from engine.errors import Cancelled
from engine.tree import TokenPath, TokenTree
from engine.vocab import FloatArray


class StopSignal:
    """Tells running work to end: set by cancellation from another thread, or by a deadline."""

    def __init__(self, deadline_ms: float | None = None) -> None:
        self.flag = bytearray(2)
        """An empty C string; of length 1 once `cancel` was called. For libraries that poll."""
        self._deadline = None if deadline_ms is None else time.monotonic() + deadline_ms / 1000

    def cancel(self) -> None:
        """Withdraws the work; it ends before its next model evaluation, or within the running one."""
        self.flag[0] = 1

    def check(self) -> None:
        """Raises Cancelled once `cancel` was called. Looked at before each model evaluation."""
        if self.flag[0]:
            raise Cancelled("the request was cancelled")

    @property
    def is_overdue(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and time.monotonic() >= self._deadline


class Backend(Protocol):
    """A model with resident context (KV cache). One thread at a time may call it."""

    vocab_size: int
    """Columns of a row; rows beyond the tokenizer's vocabulary are padding."""
    context_length: int
    """Most tokens a path may have."""
    evaluations: int
    """Model calls (decodes) so far."""
    tokens_evaluated: int
    """Token positions evaluated so far."""

    def score(
        self, context: Sequence[int], tree: TokenTree, wanted: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        """Log-probabilities of the token after each wanted node.

        `wanted` are nodes of `tree`, or ROOT for the end of `context`. Returns one (vocab_size,) row
        of natural logs for each. Raises Cancelled between or within evaluations when `stop` is set; what
        was evaluated before stays resident. Raises BackendError when a path exceeds `context_length`.
        """
        ...

    def close(self) -> None:
        """Frees the model. Idempotent."""
        ...


@runtime_checkable
class ComparesStates(Protocol):
    """A backend that tells at which places of a path the model was in a similar state."""

    def alike(self, path: TokenPath) -> Places:
        """See `drafts.nearest.Alike`."""
        ...


def alike_of(backend: Backend) -> Alike | None:
    """How drafts find out what the backend knows of alike places, if it compares states."""
    return backend.alike if isinstance(backend, ComparesStates) else None
