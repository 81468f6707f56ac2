"""What the cuts behind a context mean for the tokens that may follow it, in byte-level BPE.

A token t may follow if the pretokenizer cuts context + t where tokens end, and no merge crosses where it does
not cut. The first is told by the shapes of the context and of t (`cuts`), so the verdicts on all tokens are a
few numbers by group; the second is asked for pairs of tokens (`pairs`). Behind one token by itself they
depend on its group alone, and so do most of those behind two: what is known of groups is told to whoever
reads texts token by token, without a look at the texts (`tokenizers.base.Alone`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate, pairwise, product

import numpy as np

from engine.kernels import Forest
from engine.tokenizers.base import UNASKED, UNTOLD, Alone
from engine.tokenizers.cuts import (
    ALWAYS,
    IF_NO_MERGE,
    INSIDE,
    NEVER,
    Classes,
    Cut,
    Groups,
    TokenCuts,
    VerdictArray,
)
from engine.tokenizers.pairs import PairTable
from engine.tokenizers.pretokenize import Pretokenizer
from engine.tokenizers.utf8 import partial_length
from engine.vocab import BoolArray, IntArray, TokenKind, Vocab


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Whether a token may follow a context: never, always, or if no merge crosses."""

    final: VerdictArray
    """(vocab.rows,): if the text ends behind it."""
    recut: VerdictArray
    """(groups,): if some text follows, as far as that allows more."""
    broken: VerdictArray
    """(groups of broken tokens,): if the character at its end is broken off."""
    doubtful: IntArray
    """Rows of the tokens that `broken` may allow where `final` does not."""
    has_recut: bool
    """Whether `recut` allows anything."""
    is_simple: bool
    """Whether `final` is all there is to it."""
    is_simple_without_merge: bool
    """Whether it is if no merge crosses into a token whose last character is broken off."""


class Judge:
    """The verdicts of one vocabulary under one pretokenizer."""

    def __init__(
        self, vocab: Vocab, pretokenizer: Pretokenizer, pairs: PairTable, whole: Mapping[bytes, int]
    ) -> None:
        """`whole`: bytes → the token that is a word by itself or nothing (`byte_level`), added or not."""
        self.cuts = TokenCuts(vocab, pretokenizer)
        self._vocab, self._pretokenizer, self._pairs = vocab, pretokenizer, pairs
        self._whole, self._whole_ids = whole, frozenset(whole.values())
        self._continuation_rows = vocab.prefix_range(b"\x80")[0], vocab.prefix_range(b"\xc0")[0]
        whole_rows = vocab.row_of[list(self._whole_ids)]
        self._mergeable_rows: BoolArray = pairs.reachable[vocab.order]
        self._reachable_rows = self._mergeable_rows.copy()
        for spelled, token in whole.items():
            if vocab.kinds[token] == TokenKind.USER_DEFINED:
                self._reachable_rows[slice(*vocab.exact_range(spelled, *vocab.prefix_range(spelled)))] = False
        self._reachable_rows[whole_rows], self._mergeable_rows[whole_rows] = True, False
        self._reachable_broken = self._reachable_rows[self.cuts.broken_rows]
        self.merges_into_broken = pairs.may_cross_into(vocab.order[self.cuts.broken_rows]).tobytes()
        """See `Alone`."""
        self._classes = {
            groups: Classes(groups, self._reachable_rows, self._mergeable_rows)
            for groups in self.cuts.all_groups
        }
        size = self.cuts.groups_alone, self.cuts.groups_alone
        self._stable, self._joined = (np.full(size, UNASKED, dtype=np.int16) for _ in range(2))
        self._foreseen: dict[int, Verdicts] = {}
        self.on = lru_cache(maxsize=256)(self.judge)
        self.shape_of = lru_cache(maxsize=1024)(self._find_shape)
        self._verdicts = lru_cache(maxsize=128)(self._find_verdicts)
        self._seen_alone = lru_cache(maxsize=256)(self._judge_alone)
        self._undivided = lru_cache(maxsize=1024)(self._is_undivided)

    def judge(self, tokens: tuple[int, ...]) -> Verdicts:
        """What the cuts behind a context mean for it; `on` remembers the latest.

        That depends on its shape, and on which boundaries of the shape are boundaries of tokens, and on which
        of these there must be a cut because a merge would cross them; where there are whole tokens, on all.
        """
        if len(tokens) == 1 and not self._whole and (judged := self._judged_alone(tokens[0])) is not None:
            return judged
        shape, positions = self.shape_of(tokens)
        ends = [0, *accumulate(len(self._vocab.token_bytes[t]) for t in tokens)]
        merged = {
            end
            for end, left, right in zip(ends[1:], tokens, tokens[1:], strict=False)
            if not self._pairs.is_canonical(left, right) or not self._whole_ids.isdisjoint((left, right))
        }
        merged |= {ends[-1]} if tokens and tokens[-1] in self._whole_ids else set()
        bounds = tuple([position in ends for position in positions])
        joints = frozenset([positions.index(end) if end in positions else -1 for end in merged])
        return self._verdicts(shape, bounds, joints, tokens if self._whole else ())

    def alone_on(self, group: int) -> Verdicts:
        """`judge` of a token of this group by itself."""
        return self._foreseen.get(group) or self._seen_alone(group)

    def _judge_alone(self, group: int) -> Verdicts:
        shape = self.cuts.shape_alone(group)
        bounds = True, *[False] * (len(shape) - 1), True
        return self._verdicts(shape, bounds, frozenset(), ())

    def _find_verdicts(
        self, shape: str, bounds: tuple[bool, ...], joints: frozenset[int], tokens: tuple[int, ...]
    ) -> Verdicts:
        """`bounds`: which boundaries of the shape are some of tokens; `joints`: where there must be a cut."""

        @cache
        def verdict(outcome: Cut) -> int:
            possible = outcome != INSIDE and all(bounds[cut] for cut in outcome) and joints.issubset(outcome)
            if not possible or self._spells_whole(tokens, outcome):
                return NEVER
            return ALWAYS if not shape or len(bounds) - 1 in outcome else IF_NO_MERGE

        def best(ways: Sequence[tuple[int, Cut]], groups: Groups) -> VerdictArray:
            found = [NEVER] * len(groups.shapes)
            for group, outcome in ways:
                found[group] = max(found[group], verdict(outcome))
            return np.array(found, dtype=np.int8)

        cuts, groups, broken_groups = self.cuts.behind(shape), *self.cuts.groups_after(shape)
        final = np.array([verdict(outcome) for outcome in cuts.outcomes], dtype=np.int8)[cuts.codes]
        recut, broken = best(cuts.recuts, groups), best(cuts.broken, broken_groups)
        recut[recut <= final] = NEVER
        unbroken = groups.by_kind(final)[groups.kind_of_row[self.cuts.broken_rows]]
        is_more = broken_groups.by_kind(broken)[broken_groups.kind_of_row] > unbroken
        doubtful = self.cuts.broken_rows[is_more & self._reachable_broken]
        by_row = self._classes[groups].verdicts(final)
        is_by_merge, has_recut = bool((by_row[doubtful] != NEVER).all()), bool(recut.any())
        is_simple = not has_recut and not len(doubtful)
        return Verdicts(by_row, recut, broken, doubtful, has_recut, is_simple, not has_recut and is_by_merge)

    def _spells_whole(self, tokens: tuple[int, ...], outcome: Cut) -> bool:
        """Whether a word between cuts has the bytes of a whole token, in other tokens."""
        if not self._whole:
            return False
        positions = self.shape_of(tokens)[1]
        ends = [0, *accumulate(len(self._vocab.token_bytes[t]) for t in tokens)]
        text, places = self._vocab.decode(tokens), sorted({positions[cut] for cut in outcome} | {0})
        return any(
            (whole := self._whole.get(text[start:end])) is not None
            and tokens[ends.index(start) : ends.index(end)] != (whole,)
            for start, end in pairwise(places)
        )

    # -- tokens that are looked at one by one -----------------------------------------------------

    def recut_rows(self, tokens: tuple[int, ...]) -> list[int]:
        """Rows of the tokens that more is possible for if some text behind them cuts them otherwise."""
        judged = self.on(tokens)
        if not judged.has_recut:
            return []
        groups, _ = self.cuts.groups_after(self.shape_of(tokens)[0])
        chosen = groups.choose(judged.recut, self._free(tokens), self._reachable_rows)
        rows: list[int] = np.flatnonzero(chosen).tolist()
        return rows

    def broken_rows(self, tokens: tuple[int, ...], allowed: BoolArray) -> list[int]:
        """Rows that are not `allowed`, but may be if the character inside which they end is broken off.

        Without those that may go on with a character inside which `tokens` end.
        """
        verdicts = self.on(tokens).broken
        if not verdicts.any():
            return []
        (_, groups), rows = self.cuts.groups_after(self.shape_of(tokens)[0]), self.cuts.broken_rows
        chosen = groups.choose(verdicts, self._free(tokens)[rows], self._reachable_broken)
        if partial_length(self._vocab.decode(tokens)):
            low, high = self._continuation_rows
            chosen = chosen & ((rows < low) | (rows >= high))
        found: list[int] = rows[chosen & ~allowed[rows]].tolist()
        return found

    def _free(self, tokens: tuple[int, ...]) -> BoolArray:
        """(vocab.rows,): the tokens with which no merge crosses the boundary, were there no cut."""
        return self._pairs.successors(tokens[-1]) & self._mergeable_rows if tokens else self._mergeable_rows

    def _find_shape(self, tokens: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        """The shape of a context, and where in its text the boundaries of the shape are, in bytes."""
        text = self._vocab.decode(tokens).decode("utf-8", "surrogateescape")
        shape, positions = self._pretokenizer.shapes.context_shape(text)
        if not text.isascii():
            ends = [0, *accumulate(len(c.encode("utf-8", "surrogateescape")) for c in text)]
            positions = tuple([ends[position] for position in positions])
        return shape, positions

    # -- tokens by themselves ---------------------------------------------------------------------

    def foresee(self) -> None:
        """Derives what most texts will need; worth it for tables that are kept."""
        self.cuts.foresee()
        groups = self.cuts.common_groups
        for left, right in product(groups, groups):
            stable = self.stable_alone(left, right)
            joined = self.joined_alone(left, right) if stable == 0 else None
            self._stable[left, right] = UNTOLD if stable is None else stable
            self._joined[left, right] = UNTOLD if joined is None else joined
        self._foreseen = {} if self._whole else {group: self._judge_alone(group) for group in groups}

    @property
    def alone(self) -> Alone:
        """See `Tokenizer.alone`."""
        group_of = np.frombuffer(self.cuts.alone_of, dtype=np.int32)
        groups = self.cuts.groups_alone
        return Alone(groups, group_of, self.merges_into_broken, self._stable, self._joined)

    def stable_alone(self, left: int, right: int) -> int | None:
        """See `Tokenizer.stable_alone`."""
        return self.cuts.stable_groups(left, right)

    def joined_alone(self, left: int, right: int) -> int | None:
        """See `Tokenizer.joined_alone`."""
        group = None if self._whole else self.cuts.joined_group(left, right)
        return group if group is not None and self._undivided(group) else None

    def _is_undivided(self, group: int) -> bool:
        """Whether the verdicts behind tokens that look like one of this group are those behind it."""
        shape, alone = self.cuts.shape_alone(group), self.alone_on(group)
        divided = self._verdicts(shape, (True,) * (len(shape) + 1), frozenset(), ())
        simple = [(v.is_simple, v.is_simple_without_merge) for v in (alone, divided)]
        return simple[0] == simple[1] and bool((alone.final == divided.final).all())

    def rule_alone(self, group: int) -> tuple[VerdictArray, Forest, bool] | None:
        """See `Tokenizer.rule_alone`."""
        if self._whole:
            return None
        judged = self.alone_on(group)
        if not (judged.is_simple or judged.is_simple_without_merge):
            return None
        return judged.final, self._pairs.forest, judged.is_simple

    def _judged_alone(self, token: int) -> Verdicts | None:
        """`judge` of a token by itself that is no whole one; None if its shape was not foreseen."""
        group = self.cuts.alone_of[token]
        return None if group < 0 else self.alone_on(group)
