"""Pretokenizers: where a text is cut into the words inside which BPE merges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from itertools import accumulate

import regex

from engine.errors import ModelUnsupported
from engine.tokenizers.expressions import EXPRESSIONS, GGUF_NAMES, Expressions
from engine.tokenizers.shapes import Shapes
from engine.tokenizers.utf8 import partial_length

WHITE_SPACE = "".join(regex.findall(r"\p{White_Space}", "".join(map(chr, range(0x3001)))))
"""All of Unicode's; `str.rstrip` takes four control characters more."""
_KEPT_CHARACTERS = 16


class Pretokenizer:
    """Cuts text into words and reduces text to shapes. Text is str: invalid bytes are surrogates."""

    def __init__(self, name: str, added: str = "") -> None:
        """`added` are characters that are words by themselves: DeepSeek's added tokens.

        Raises ModelUnsupported for a name that is not in EXPRESSIONS.
        """
        if name not in EXPRESSIONS:
            raise ModelUnsupported(
                f"the pretokenizer {name!r} is not known to be exact here; known are {', '.join(EXPRESSIONS)}"
            )
        self.name = name
        expressions = _with_added(EXPRESSIONS[name], added) if added else EXPRESSIONS[name]
        self._stages = _Stages(expressions.stages) if expressions.stages else None
        self._recut = regex.compile(expressions.recut)
        self._followers = expressions.followers
        self._unstable_words = expressions.unstable_words
        self._joinable = regex.compile(expressions.joinable)
        self._unstable_space = expressions.unstable_space
        self._counted = regex.compile(expressions.counted or r"(?!)")
        self.shapes = _shapes(expressions)
        self._stable_of = lru_cache(maxsize=4096)(self._find_stable)

    def split(self, text: str) -> list[str]:
        """The words of `text`; their concatenation is `text`."""
        return self._stages.split(text) if self._stages else [text] * bool(text)

    def cuts(self, text: str) -> list[int]:
        """End position of every word of `text`, in characters; the last one is `len(text)`."""
        ends, end = [], 0
        for word in self.split(text):
            end += len(word)
            ends.append(end)
        return ends

    def followers(self, text: str) -> tuple[str, ...]:
        """Texts that, one of them behind `text`, cut it in every way in which any text could.

        The boundary at its end aside. None if what follows `text` does not matter: white space gives its
        last character to the word behind it or takes in more lines, "'r" may become "'re", and where
        letters without case are followed by capitals a small letter joins them.
        """
        return self._followers if self._recut.search(text) else ()

    def stable_words(self, words: Sequence[str]) -> int:
        """How many of the words at the beginning of a text no continuation can change."""
        stable = max(0, len(words) - self._unstable_words)
        while stable < len(words) - 1 and not self._joinable.search(words[stable]):
            stable += 1
        if self._unstable_space:
            size = len("".join(words).rstrip(WHITE_SPACE))
            ends = accumulate(map(len, words))
            stable = min(stable, sum(end < size for end in ends))
        return stable

    def stable_part(self, text: str) -> tuple[int, int]:
        """How many words at the beginning of `text` are stable, and how many characters these are."""
        return self._stable_of(self.shapes.folded(text))

    def _find_stable(self, atoms: str) -> tuple[int, int]:
        words = self.split(atoms)
        stable = self.stable_words(words)
        return stable, sum(map(len, words[:stable]))

    def may_begin_between(self, before: str, after: str) -> bool:
        """Whether `after` is cut alike without `before`, its first words aside.

        Not inside a run whose characters are counted: threes of digits begin at its first one.
        """
        return not (self._counted.match(before[-1:]) and self._counted.match(after[:1]))

    def completions(self, text: bytes) -> tuple[str, ...]:
        """The characters inside which `text` may end; one empty one if it ends between characters."""
        partial = partial_length(text)
        return self.shapes.completions_of(text[len(text) - partial :]) if partial else ("",)


_shapes = cache(Shapes)


def _with_added(expressions: Expressions, added: str) -> Expressions:
    """`expressions` behind a stage that makes a word of each character in `added`."""
    characters = f"[{regex.escape(added)}]"
    return replace(
        expressions,
        stages=(characters, *expressions.stages),
        sets=(*expressions.sets, characters),
        counted=f"(?:{expressions.counted or '(?!)'}|{characters})",
    )


def pretokenizer_for(gguf_name: str, added: str = "") -> Pretokenizer:
    """The pretokenizer that GGUF metadata call `gguf_name`. Raises ModelUnsupported if it is unknown."""
    if gguf_name not in GGUF_NAMES:
        raise ModelUnsupported(
            f"the model's pretokenizer {gguf_name!r} is not supported yet, so its completions would not be"
            f" exact; supported are {', '.join(sorted(GGUF_NAMES))}"
        )
    return Pretokenizer(GGUF_NAMES[gguf_name], added)


class _Stages:
    """Cuts a text by one expression after the other: matches and the gaps between them (behavior "isolated").

    The pieces that a stage leaves to the next ones are mostly short and often the same: their words are kept.
    """

    def __init__(self, expressions: Sequence[str]) -> None:
        """At least one, without groups of their own."""
        self._first = regex.compile(f"({expressions[0]})")
        self._others = _Stages(expressions[1:]) if expressions[1:] else None
        self._kept = lru_cache(maxsize=4096)(self._words)

    def split(self, text: str) -> list[str]:
        """The words of `text`."""
        pieces = [piece for piece in self._first.split(text) if piece]
        if self._others is None:
            return pieces
        words: list[str] = []
        for piece in pieces:
            words += (self._kept if len(piece) <= _KEPT_CHARACTERS else self._words)(piece)
        return words

    def _words(self, piece: str) -> list[str]:
        return self._others.split(piece) if self._others else [piece]
