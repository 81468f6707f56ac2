"""Where a pretokenizer cuts context + t, for all tokens t at once.

They depend on t only through its shape (`shapes`), of which there are some hundred; or a thousand, where the
context ends near an apostrophe, because then it matters which letters t begins with.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from engine.kernels import choose_tokens
from engine.tokenizers.pretokenize import Pretokenizer
from engine.tokenizers.utf8 import partial_length
from engine.vocab import BoolArray, IntArray, Vocab

Cut = tuple[int, ...]
"""Word ends inside a context (shape positions)."""
INSIDE: Cut = (-1,)
"""A cut falls inside the appended token."""


class Groups:
    """Tokens by shape. A token that ends inside a character has one shape for each completion."""

    def __init__(self, rows: Sequence[int], shapes: Sequence[str]) -> None:
        """`shapes[k]` is a shape of the token in `rows[k]`; the rows are ascending."""
        numbers: dict[str, int] = {}
        groups = np.array([numbers.setdefault(shape, len(numbers)) for shape in shapes], dtype=np.int16)
        self.shapes = list(numbers)
        first = np.diff(np.array([-1, *rows])) > 0
        self._group_of_row = groups[first]
        self._other_rows, self._other_groups = np.array(rows, dtype=np.int64)[~first], groups[~first]

    def choose(self, verdicts: npt.NDArray[np.int8], free: BoolArray, reachable: BoolArray) -> BoolArray:
        """`choose_tokens` by the `verdicts` (groups,); a token of several groups by the best of them."""
        chosen = choose_tokens(verdicts, self._group_of_row, free, reachable)
        rows = self._other_rows
        others = choose_tokens(verdicts, self._other_groups, free[rows], reachable[rows])
        chosen[rows[others]] = True
        return chosen


class TokenCuts:
    """The cuts behind any context, for the tokens of one vocabulary.

    A token that ends inside a character is read as each completion, and as *broken*: the character never
    comes, so that its bytes stand by themselves. Text that ends there is not read so, but text may follow.
    """

    def __init__(self, vocab: Vocab, pretokenizer: Pretokenizer) -> None:
        rows: list[int] = []
        texts: list[str] = []
        for row, token in enumerate(vocab.sorted_bytes):
            whole = token[: len(token) - partial_length(token)].decode("utf-8", "surrogateescape")
            for completion in pretokenizer.completions(token):
                rows.append(row)
                texts.append(whole + completion)
        self._pretokenizer = pretokenizer
        self._reached, self._others = self._both_groups(rows, texts)
        broken = [row for row, token in enumerate(vocab.sorted_bytes) if partial_length(token)]
        raw = [vocab.sorted_bytes[row].decode("utf-8", "surrogateescape") for row in broken]
        self._broken_reached, self._broken_others = self._both_groups(broken, raw)
        self.broken_rows: IntArray = np.array(broken, dtype=np.int64)
        self.outcomes = lru_cache(maxsize=4096)(self._outcomes)
        self.recuts = lru_cache(maxsize=4096)(self._recuts)
        self.broken = lru_cache(maxsize=4096)(self._broken)

    def _both_groups(self, rows: Sequence[int], texts: Sequence[str]) -> tuple[Groups, Groups]:
        """Behind a context that reaches into them, and behind any other."""
        shapes = self._pretokenizer.shapes
        reached, others = (shapes.word_shapes(texts, reached=reached) for reached in (True, False))
        return Groups(rows, reached), Groups(rows, others)

    def groups_after(self, shape: str) -> Groups:
        """The groups that the numbers of `outcomes` and `recuts` are of."""
        return self._reached if self._pretokenizer.shapes.reaches_on(shape) else self._others

    def broken_after(self, shape: str) -> Groups:
        """The groups, of the tokens in `broken_rows` alone, that the numbers of `broken` are of."""
        return self._broken_reached if self._pretokenizer.shapes.reaches_on(shape) else self._broken_others

    def _outcomes(self, shape: str) -> tuple[npt.NDArray[np.int16], list[Cut]]:
        """For each group of tokens behind `shape` the number of its outcome, and the outcomes."""
        numbers: dict[Cut, int] = {}
        groups = self.groups_after(shape)
        codes = np.empty(len(groups.shapes), dtype=np.int16)
        for group, token_shape in enumerate(groups.shapes):
            cuts = self._pretokenizer.cuts(shape + token_shape)[:-1]
            codes[group] = numbers.setdefault(_outcome(cuts, len(shape)), len(numbers))
        return codes, list(numbers)

    def _recuts(self, shape: str) -> list[tuple[int, Cut]]:
        """(group, outcome) for the groups whose outcome is another one if text follows."""
        found: dict[tuple[int, Cut], None] = {}
        codes, outcomes = self.outcomes(shape)
        for group, token_shape in enumerate(self.groups_after(shape).shapes):
            for outcome in self._followed(shape, token_shape):
                if outcome not in (INSIDE, outcomes[codes[group]]):
                    found[group, outcome] = None
        return list(found)

    def _broken(self, shape: str) -> list[tuple[int, Cut]]:
        """(group, outcome) for each way in which a broken character can be cut behind `shape`."""
        found: dict[tuple[int, Cut], None] = {}
        for group, token_shape in enumerate(self.broken_after(shape).shapes):
            alone = self._pretokenizer.cuts(shape + token_shape)[:-1]
            for outcome in (_outcome(alone, len(shape)), *self._followed(shape, token_shape)):
                if outcome != INSIDE:
                    found[group, outcome] = None
        return list(found)

    def _followed(self, shape: str, token_shape: str) -> list[Cut]:
        """The outcomes with each kind of text behind, as far as that matters."""
        both = shape + token_shape
        return [
            _outcome([cut for cut in self._pretokenizer.cuts(both + follower) if cut < len(both)], len(shape))
            for follower in self._pretokenizer.followers(both)
        ]


def _outcome(cuts: Sequence[int], context_end: int) -> Cut:
    return INSIDE if cuts and cuts[-1] > context_end else tuple(cuts)
