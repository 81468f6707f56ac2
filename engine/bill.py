"""What one request costs, on one model or several."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import Cancelled
from engine.model import Model
from engine.types import Usage


class Bill:
    """Counts from its making on; `prompt_done` is called once, `usage` at the end."""

    def __init__(self, *models: Model) -> None:
        self._backends = [model.backend for model in models]
        self._drafters = [model.scorer.drafter for model in models if model.scorer.drafter]
        self._started = time.perf_counter()
        self._evaluations, self._tokens = self._counts()
        self._drafted, self._accepted = self._draft_counts()
        self._prompt_tokens = self._prompt_tokens_evaluated = 0
        self._prompt_ms = 0.0
        self._prompt_is_done = False

    def _counts(self) -> tuple[int, int]:
        return sum(b.evaluations for b in self._backends), sum(b.tokens_evaluated for b in self._backends)

    def _draft_counts(self) -> tuple[int, int]:
        return sum(d.drafted for d in self._drafters), sum(d.accepted for d in self._drafters)

    def prompt_done(self, prompt_tokens: int, *, scored: bool = True) -> None:
        """Everything up to here was the prompt's; if it was not `scored` yet, decoding evaluates it."""
        self._prompt_tokens = prompt_tokens
        if scored:
            self._prompt_tokens_evaluated = self._counts()[1] - self._tokens
        self._prompt_ms = self._elapsed_ms()
        self._prompt_is_done = True

    @contextmanager
    def on_cancel(self) -> Iterator[None]:
        """Cancelled errors that pass tell what was spent."""
        try:
            yield
        except Cancelled as error:
            error.usage = self.usage()
            raise

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._started) * 1000

    def usage(self) -> Usage:
        """The sums over all models, up to now. Before `prompt_done` everything is the prompt's."""
        evaluations, tokens = self._counts()
        drafted, accepted = self._draft_counts()
        if not self._prompt_is_done:
            self._prompt_tokens_evaluated = tokens - self._tokens
        return Usage(
            prompt_tokens=self._prompt_tokens,
            prompt_tokens_evaluated=self._prompt_tokens_evaluated,
            tokens_evaluated=tokens - self._tokens,
            model_evaluations=evaluations - self._evaluations,
            drafted_tokens=drafted - self._drafted,
            accepted_tokens=accepted - self._accepted,
            prompt_ms=self._prompt_ms,
            total_ms=self._elapsed_ms(),
        )
