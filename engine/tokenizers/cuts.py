"""Where a pretokenizer cuts context + t, for all tokens t at once.

They depend on t only through its shape (`shapes`), of which there are some hundred; or a thousand, where the
context ends near an apostrophe, because then it matters which letters t begins with.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from engine.kernels import choose_tokens
from engine.tokenizers.pretokenize import Pretokenizer
from engine.tokenizers.utf8 import partial_length
from engine.vocab import BoolArray, IntArray, SmallIntArray, Vocab

VerdictArray = npt.NDArray[np.int8]
NEVER, IF_NO_MERGE, ALWAYS = 0, 1, 2
"""Whether a token may follow."""
_BY_VERDICT, _AT_CUT, _NOWHERE = 0, 1, 2
Cut = tuple[int, ...]
"""Word ends inside a context (shape positions)."""
INSIDE: Cut = (-1,)
"""A cut falls inside the appended token."""
MOST_FORESEEN = 128
"""Groups of tokens for which answers are derived before they are asked for. Large vocabularies have several
hundred, but of two hundred tokens of source all but one are of these (test_known_vocabularies)."""


class Groups:
    """Tokens by shape. A token that ends inside a character has one shape for each completion.

    Tokens of the same shapes are of one *kind*; the verdict on a kind is the best of those on its groups.
    """

    def __init__(self, rows: Sequence[int], shapes: Sequence[str]) -> None:
        """`shapes[k]` is a shape of the token in `rows[k]`; the rows are ascending."""
        numbers: dict[str, int] = {}
        groups = [numbers.setdefault(shape, len(numbers)) for shape in shapes]
        self.shapes = list(numbers)
        members: dict[int, set[int]] = {}
        for row, group in zip(rows, groups, strict=True):
            members.setdefault(row, set()).add(group)
        kinds: dict[tuple[int, ...], int] = {}
        self.kind_of_row = np.array(
            [kinds.setdefault(tuple(sorted(found)), len(kinds)) for found in members.values()], dtype=np.int16
        )
        """(tokens,) in ascending order of their rows."""
        self._members = np.array([group for kind in kinds for group in kind], dtype=np.int64)
        self._starts = np.cumsum([0, *map(len, kinds)])[:-1]

    def first_of_row(self) -> IntArray:
        """(tokens,) the first group of each, in ascending order of their rows."""
        found: IntArray = self._members[self._starts[self.kind_of_row]]
        return found

    def by_kind(self, verdicts: VerdictArray) -> VerdictArray:
        """(kinds,) the best of the `verdicts` (groups,) on the groups of each kind."""
        found: VerdictArray = np.maximum.reduceat(verdicts[self._members], self._starts)
        return found

    def choose(self, verdicts: VerdictArray, free: BoolArray, reachable: BoolArray) -> BoolArray:
        """`choose_tokens` by the `verdicts` (groups,)."""
        return choose_tokens(self.by_kind(verdicts), self.kind_of_row, free, reachable)


class Classes:
    """Tokens by their kind and by what else decides whether they may follow, whatever the context."""

    def __init__(self, groups: Groups, reachable: BoolArray, mergeable: BoolArray) -> None:
        """(rows,) what is not `reachable` never follows; what is not `mergeable` only behind a cut."""
        self._groups = groups
        state = np.where(reachable, np.where(mergeable, _BY_VERDICT, _AT_CUT), _NOWHERE)
        both, class_of_row = np.unique(groups.kind_of_row.astype(np.int64) * 3 + state, return_inverse=True)
        self._kind, self._state = np.divmod(both, 3)
        self._class_of_row = class_of_row.astype(np.int16)
        self._by_row = lru_cache(maxsize=64)(self._spread)

    def verdicts(self, verdicts: VerdictArray) -> VerdictArray:
        """(rows,) by those on the groups. Different groups' are often the same, and then the same array."""
        found = self._groups.by_kind(verdicts)[self._kind]
        found[(self._state == _NOWHERE) | (self._state == _AT_CUT) & (found < ALWAYS)] = NEVER
        return self._by_row(found.tobytes())

    def _spread(self, by_class: bytes) -> VerdictArray:
        found: VerdictArray = np.frombuffer(by_class, dtype=np.int8)[self._class_of_row]
        return found


@dataclass(frozen=True, slots=True)
class ShapeCuts:
    """Where context + t is cut, for all groups of tokens t and the contexts of one shape."""

    codes: npt.NDArray[np.int16]
    """(groups,): the number of its outcome in `outcomes`."""
    outcomes: list[Cut]
    recuts: list[tuple[int, Cut]]
    """(group, outcome) where the outcome is another one if text follows."""
    broken: list[tuple[int, Cut]]
    """(group, outcome) for each way in which a broken character can be cut."""


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
        self.alone_of = self._groups_alone(vocab)
        """(tokens,) the group of each that has the shape of a context of this token alone; −1 for none."""
        self._stable_of = lru_cache(maxsize=1 << 14)(self._find_stable)
        self._foreseen: dict[str, ShapeCuts] = {}
        self._seen = lru_cache(maxsize=4096)(self._derive)

    def foresee(self) -> None:
        """Derives what follows no token at all, or a common one by itself: 97 of 100 contexts look like one.

        That takes a while, so it is for tables that are kept.
        """
        shapes = ["", *map(self.shape_alone, self.common_groups)]
        self._foreseen = {shape: self._derive(shape) for shape in shapes}

    @cached_property
    def common_groups(self) -> list[int]:
        """The MOST_FORESEEN groups of `alone_of` whose tokens were formed first, of the commonest texts."""
        first = {group: token for token, group in reversed([*enumerate(self.alone_of)])}
        return sorted(first.keys() - {-1}, key=first.__getitem__)[:MOST_FORESEEN]

    def _groups_alone(self, vocab: Vocab) -> array[int]:
        groups = self._others.first_of_row()
        groups[self.broken_rows] = -1
        found: SmallIntArray = np.full(len(vocab), -1, dtype=np.int32)
        found[vocab.order] = groups
        return array("i", found.tobytes())

    def shape_alone(self, group: int) -> str:
        """The shape of a context of one token of this group alone."""
        return self._others.shapes[group]

    def stable_tokens(self, left: int, right: int) -> int | None:
        """How many of these two tokens begin in words that no text behind them can change; None if their
        shapes do not tell."""
        groups = self.alone_of[left], self.alone_of[right]
        return self._stable_of(*groups) if groups[0] >= 0 and groups[1] >= 0 else None

    def stable_groups(self, left: int, right: int) -> int | None:
        """`stable_tokens` of tokens of these groups."""
        return self._stable_of(left, right)

    def joined_group(self, left: int, right: int) -> int | None:
        """The group of tokens that look like two of these groups side by side, if these are one word that may
        still change. None if there is none, or their shapes do not tell."""
        cut = self._pretokenizer
        shape = cut.shapes.joined(self._others.shapes[left], self._others.shapes[right])
        if shape is None or cut.stable_part(shape)[1] > 0 or len(cut.split(shape)) > 1:
            return None
        return self._number_of.get(shape)

    @cached_property
    def _number_of(self) -> dict[str, int]:
        return {shape: number for number, shape in enumerate(self._others.shapes)}

    @property
    def groups_alone(self) -> int:
        """How many groups `alone_of` knows."""
        return len(self._others.shapes)

    def _find_stable(self, left: int, right: int) -> int | None:
        shape, behind = self._others.shapes[left], self._others.shapes[right]
        if self._pretokenizer.shapes.reaches_on(shape):
            return None
        size = self._pretokenizer.stable_part(shape + behind)[1]
        return (size > 0) + (size > len(shape))

    def behind(self, shape: str) -> ShapeCuts:
        """The cuts of all tokens behind a context of this shape."""
        return self._foreseen.get(shape) or self._seen(shape)

    def _both_groups(self, rows: Sequence[int], texts: Sequence[str]) -> tuple[Groups, Groups]:
        """Behind a context that reaches into them, and behind any other."""
        shapes = self._pretokenizer.shapes
        reached, others = (shapes.word_shapes(texts, reached=reached) for reached in (True, False))
        return Groups(rows, reached), Groups(rows, others)

    @property
    def all_groups(self) -> tuple[Groups, Groups]:
        """Of all tokens: behind some contexts, and behind the others."""
        return self._reached, self._others

    def groups_after(self, shape: str) -> tuple[Groups, Groups]:
        """The groups that the numbers of `codes` and `recuts` are of; those of the tokens in `broken_rows`,
        that the numbers of `broken` are of."""
        if self._pretokenizer.shapes.reaches_on(shape):
            return self._reached, self._broken_reached
        return self._others, self._broken_others

    def _derive(self, shape: str) -> ShapeCuts:
        alone = [self._alone(shape, token_shape) for token_shape in self.groups_after(shape)[0].shapes]
        outcomes = list(dict.fromkeys(alone))
        codes = np.array([outcomes.index(outcome) for outcome in alone], dtype=np.int16)
        return ShapeCuts(codes, outcomes, self._recuts(shape, alone), self._broken(shape))

    def _alone(self, shape: str, token_shape: str) -> Cut:
        return _outcome(self._pretokenizer.cuts(shape + token_shape)[:-1], len(shape))

    def _recuts(self, shape: str, alone: Sequence[Cut]) -> list[tuple[int, Cut]]:
        """For the groups whose outcome is not that `alone`."""
        found: dict[tuple[int, Cut], None] = {}
        for group, token_shape in enumerate(self.groups_after(shape)[0].shapes):
            for outcome in self._followed(shape, token_shape):
                if outcome not in (INSIDE, alone[group]):
                    found[group, outcome] = None
        return list(found)

    def _broken(self, shape: str) -> list[tuple[int, Cut]]:
        found: dict[tuple[int, Cut], None] = {}
        for group, token_shape in enumerate(self.groups_after(shape)[1].shapes):
            for outcome in (self._alone(shape, token_shape), *self._followed(shape, token_shape)):
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
