"""What the engine asks of a tokenizer family. Everything is bytes; special tokens are never parsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.kernels import Forest, Successors
from engine.vocab import BoolArray, SmallIntArray, Vocab

PairArray = npt.NDArray[np.int16]
UNTOLD, UNASKED = -1, -2


@dataclass(frozen=True, slots=True)
class Encoding:
    """Canonical tokens of a text, and how many of them no continuation of the text can change."""

    tokens: tuple[int, ...]
    stable_tokens: int
    stable_bytes: int


@dataclass(frozen=True, slots=True)
class Alone:
    """What is known of tokens by themselves, by groups that look alike."""

    groups: int
    group_of: SmallIntArray
    """(tokens,) −1 for a token of which nothing is known."""
    merges_into_broken: bytes
    """(tokens,) whether a merge may cross from the token into one whose last character is broken off."""
    stable: PairArray
    """(groups, groups) what `stable_alone` tells: UNTOLD for None, UNASKED if it must be asked."""
    joined: PairArray
    """(groups, groups) what `joined_alone` tells, in the same way."""


class Tokenizer(Protocol):
    """A canonical tokenizer on bytes.

    T is *final* iff T == encode(κ(T)); where κ(T) ends inside a UTF-8 character, iff that holds for
    some completion of the character (docs/decisions/0002-text-that-ends-too-early.md).
    T is *canonical* iff it begins a final sequence: iff encode(κ(T) + y) starts with T for some y. Not
    every canonical sequence is final: encode("\\n\\nx") may start with two newlines where
    encode("\\n\\n") is one token.
    """

    @property
    def vocab(self) -> Vocab:
        """The tokens' bytes."""
        ...

    @property
    def text_start(self) -> bytes:
        """What the tokenizer puts before a text: SentencePiece's dummy space, or b""."""
        ...

    @property
    def missing_bytes(self) -> frozenset[int]:
        """Byte values that no token sequence can express."""
        ...

    def encode(self, text: bytes) -> tuple[int, ...]:
        """Canonical tokens of `text`. Raises InputError for a byte in `missing_bytes`."""
        ...

    def encode_stable(self, text: bytes) -> Encoding:
        """`encode`, and the stable part: tokens that encode(text + y) starts with for every y."""
        ...

    def encodings(self, text: bytes) -> list[tuple[int, ...]]:
        """All canonical T with κ(T) == text, the final ones first.

        Several if `text` ends inside a character, or if what follows decides where its words end.
        """
        ...

    def successors(self, tokens: Sequence[int]) -> BoolArray:
        """(vocab.rows,) in sorted order: the t for which tokens + [t] is canonical, if `tokens` is."""
        ...

    def successor_rule(self, tokens: Sequence[int]) -> Successors:
        """`successors`, or the rule that tells which rows are among them: for few rows that is cheaper."""
        ...

    def context_end(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The last of the canonical `tokens`, on which alone depends what may follow.

        With any more tokens behind them: successors(tokens + more) == successors(context_end(tokens) + more).
        """
        ...

    @property
    def alone(self) -> Alone | None:
        """Groups of tokens that the next three know of; None if they know of none."""
        ...

    def stable_alone(self, left: int, right: int) -> int | None:
        """How many tokens of two, of these groups, begin in words that no text behind them can change.

        None if that is not known.
        """
        ...

    def joined_alone(self, left: int, right: int) -> int | None:
        """The group whose rule holds behind two tokens of these groups, too, unless a merge crosses there.

        Both are parts of one word, which texts behind them may still change. None if there is none.
        """
        ...

    def rule_alone(self, group: int) -> tuple[npt.NDArray[np.int8], Forest, bool] | None:
        """Verdicts and forest of the `successor_rule` of a token of this group by itself; whether it holds
        for all of them, or only for those that may not merge into broken ones. None if there is no rule.

        Where it holds, it also tells behind which tokens the text may end.
        """
        ...

    def is_canonical(self, tokens: Sequence[int]) -> bool:
        """The slow, obvious definition: decode, and encode again with each kind of text behind it."""
        ...

    def is_final(self, tokens: Sequence[int]) -> bool:
        """Whether the text may end here: decode and encode again."""
        ...

    def may_end(self, tokens: Sequence[int]) -> bool:
        """`is_final`, given that `tokens` are canonical; looks at their end only."""
        ...
