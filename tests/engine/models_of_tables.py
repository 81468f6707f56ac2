"""A complete `Model` without a model file: a small trained vocabulary and a random table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from engine.backends.base import StopSignal
from engine.backends.fake import FakeBackend, Table, random_table
from engine.cache import Scorer
from engine.fim import Order, Template
from engine.model import Model
from engine.tree import TokenTree
from engine.vocab import FloatArray
from tests.engine.vocabularies import Trained, trained

CODE = b"import os\n\n\ndef area(width, height):\n    return width * height\n\n\nprint(area(2, 3))\n"
SENTINELS = ("<PRE>", "<SUF>", "<MID>", "<EOT>")


@cache
def vocabulary() -> Trained:
    """Starcoder's pretokenizer, a few dozen merges, four sentinels at the end."""
    return trained("starcoder", CODE * 3, merges=60, control=SENTINELS)


class GatedBackend(FakeBackend):
    """Calls `before_score` before each evaluation, so that a test can act in between."""

    def before_score(self) -> None:
        """Replaced by tests."""

    def score(
        self, context: Sequence[int], tree: TokenTree, wanted: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        """See `Backend.score`."""
        self.before_score()
        return super().score(context, tree, wanted, stop)


def model_of(table: Table | None = None, order: Order = "psm") -> Model:
    """A model on a `GatedBackend`; `table` is random if not given."""
    tokenizer = vocabulary().tokenizer
    size = len(tokenizer.vocab)
    pre, suf, mid, eot = range(size - 4, size)
    backend = GatedBackend(table or random_table(size, seed=7), size)
    template = Template("none") if order == "none" else Template(order, (), (pre,), (suf,), (mid,))
    return Model("table", tokenizer, Scorer(backend), template, (eot,), eot)
