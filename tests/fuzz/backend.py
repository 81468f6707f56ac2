"""A model of random tables that counts, that can be made to fail, and that refuses what a real one would."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.backends.base import StopSignal
from engine.backends.fake import FakeBackend, random_table
from engine.tree import TokenTree
from engine.vocab import FloatArray


class WatchedBackend(FakeBackend):
    """Fails a test that asks for paths which a context cannot hold, or too often."""

    most_evaluations: int | None = None
    """Set by a test: one more evaluation than this is a hang."""

    def __init__(self, vocab_size: int, seed: int, context_length: int) -> None:
        super().__init__(random_table(vocab_size, seed), vocab_size, context_length)
        self.contexts = 0
        self.before_score: Callable[[], None] = lambda: None

    def score(
        self, context: Sequence[int], tree: TokenTree, wanted: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        """See `Backend.score`."""
        self.before_score()
        longest = len(context) + max((len(tree.branch(node)) for node in wanted), default=0)
        assert longest <= self.context_length, f"a path of {longest} tokens in {self.context_length}"
        assert self.most_evaluations is None or self.evaluations < self.most_evaluations, (
            "too many evaluations"
        )
        self.contexts += len(wanted)
        rows = super().score(context, tree, wanted, stop)
        for row in rows:
            row.flags.writeable = False
        return rows
