"""Toy vocabularies of both families, with encoders written from the families' definitions.

Nothing here calls the engine's encoders: what a test compares with them is computed another way. Only the
regular expressions of pretokenizers are the engine's (`Pretokenizer.split`).
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from engine.tokenizers.base import Tokenizer
from engine.tokenizers.byte_level import ByteLevelBPE
from engine.tokenizers.pretokenize import Pretokenizer
from engine.tokenizers.sentencepiece import SentencePieceBPE
from engine.tree import TokenPath
from engine.vocab import TokenKind, Vocab


class Toy(ABC):
    """A vocabulary: text tokens 0, 1, … with the bytes `texts`, then a stop token and a separator."""

    alphabet: tuple[bytes, ...]
    """Single bytes of which texts are made; every one has a token."""
    text_start: bytes = b""
    """What the tokenizer puts before a text."""

    @property
    def looks_ahead(self) -> bool:
        """Whether what follows a text can decide how it is cut."""
        return False

    @property
    @abstractmethod
    def texts(self) -> tuple[bytes, ...]:
        """κ of each text token."""

    @property
    @abstractmethod
    def kinds(self) -> Sequence[TokenKind]:
        """Of each text token."""

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """The engine's tokenizer of this vocabulary."""

    @abstractmethod
    def encodings(self, text: bytes) -> frozenset[TokenPath]:
        """The tokens of `text` by the family's definition.

        Several where it ends inside a character that another ending would turn into another class.
        """

    @property
    def stop(self) -> int:
        return len(self.texts)

    @property
    def separator(self) -> int:
        return len(self.texts) + 1

    @property
    def vocab_size(self) -> int:
        return len(self.texts) + 2

    @cached_property
    def vocab(self) -> Vocab:
        return Vocab([*self.texts, b"", b""], [*self.kinds, TokenKind.CONTROL, TokenKind.CONTROL])

    def strings(self, longest: int) -> Iterator[bytes]:
        """Every string of 1 to `longest` symbols of the alphabet."""
        for length in range(1, longest + 1):
            yield from map(b"".join, itertools.product(self.alphabet, repeat=length))

    def is_final(self, path: TokenPath) -> bool:
        """Whether a text may consist of these tokens."""
        return path in _encodings(self, b"".join(self.texts[t] for t in path))

    def is_canonical(self, path: TokenPath) -> bool:
        """Whether a text may start with these tokens: tried with all short texts behind them."""
        return _is_canonical(self, path)


@cache
def _encodings(toy: Toy, text: bytes) -> frozenset[TokenPath]:
    return toy.encodings(text)


@cache
def _is_canonical(toy: Toy, path: TokenPath) -> bool:
    text = b"".join(toy.texts[t] for t in path)
    behind = itertools.chain([b""], toy.strings(2))
    return any(longer[: len(path)] == path for more in behind for longer in _encodings(toy, text + more))


def characters(text: bytes) -> list[bytes]:
    """UTF-8 characters; a byte that belongs to none stands alone."""
    return [c.encode("utf-8", "surrogateescape") for c in text.decode("utf-8", "surrogateescape")]


@dataclass(frozen=True)
class ByteLevelToy(Toy):
    """Byte-level BPE: single bytes, then one token for each merge (left bytes, right bytes)."""

    alphabet: tuple[bytes, ...]
    merges: tuple[tuple[bytes, bytes], ...]
    pretokenizer: str = "none"

    @property
    def looks_ahead(self) -> bool:
        return self.pretokenizer != "none"

    @cached_property
    def texts(self) -> tuple[bytes, ...]:
        return tuple(dict.fromkeys([*self.alphabet, *(a + b for a, b in self.merges)]))

    @property
    def kinds(self) -> Sequence[TokenKind]:
        return [TokenKind.NORMAL] * len(self.texts)

    @cached_property
    def tokenizer(self) -> ByteLevelBPE:
        number = self._number
        merges = [(number[a], number[b], number[a + b]) for a, b in self.merges]
        return ByteLevelBPE(self.vocab, merges, Pretokenizer(self.pretokenizer))

    def encodings(self, text: bytes) -> frozenset[TokenPath]:
        """BPE inside the words of `text`, cut as with each possible end of its last character."""
        return frozenset(
            tuple(token for word in self._words(text, end) for token in self._bpe(word))
            for end in _character_ends(text)
        )

    @cached_property
    def _cut(self) -> Pretokenizer:
        return Pretokenizer(self.pretokenizer)

    @cached_property
    def _rank(self) -> dict[tuple[bytes, bytes], int]:
        return {pair: number for number, pair in reversed(list(enumerate(self.merges)))}

    @cached_property
    def _number(self) -> dict[bytes, int]:
        return {text: token for token, text in enumerate(self.texts)}

    def _words(self, text: bytes, end: bytes) -> Iterator[bytes]:
        left = len(text)
        for word in self._cut.split((text + end).decode("utf-8", "surrogateescape")):
            raw = word.encode("utf-8", "surrogateescape")
            yield raw[:left]
            left = max(0, left - len(raw))

    def _bpe(self, word: bytes) -> list[int]:
        """By its definition: the leftmost pair of least rank is merged, again and again."""
        rank, parts = self._rank, [word[i : i + 1] for i in range(len(word))]
        while ranks := [(rank[p], i) for i, p in enumerate(itertools.pairwise(parts)) if p in rank]:
            _, i = min(ranks)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return [self._number[part] for part in parts]


def _character_ends(text: bytes) -> list[bytes]:
    """What makes the last character of `text` whole: b"" alone if it is whole, or can never be."""
    for length in (1, 2, 3):
        start = text[-length:]
        if len(start) == length and start[0] >= 0xC0:
            return _ends_of(start) or [b""]
    return [b""]


@cache
def _ends_of(start: bytes) -> list[bytes]:
    """By trying every continuation, of up to two bytes as toys need no more."""
    found = []
    for length in (1, 2):
        for end in itertools.product(range(0x80, 0xC0), repeat=length):
            try:
                (start + bytes(end)).decode()
            except UnicodeDecodeError:
                continue
            found.append(bytes(end))
    return found


@dataclass(frozen=True)
class SentencePieceToy(Toy):
    """SentencePiece BPE: pieces (those of high score are formed first), byte tokens, added tokens.

    Every character of a piece is a piece, as training makes sure.
    """

    alphabet: tuple[bytes, ...]
    pieces: tuple[tuple[bytes, float], ...]
    byte_tokens: bytes = b""
    added: tuple[bytes, ...] = ()
    text_start: bytes = b""

    @cached_property
    def texts(self) -> tuple[bytes, ...]:
        singles = [bytes([byte]) for byte in self.byte_tokens]
        return (*(piece for piece, _ in self.pieces), *singles, *self.added)

    @cached_property
    def kinds(self) -> Sequence[TokenKind]:
        counted = (
            (TokenKind.NORMAL, self.pieces),
            (TokenKind.BYTE, self.byte_tokens),
            (TokenKind.USER_DEFINED, self.added),
        )
        return [kind for kind, tokens in counted for _ in tokens]

    @cached_property
    def tokenizer(self) -> SentencePieceBPE:
        scores = [score for _, score in self.pieces]
        scores += [0.0] * (self.vocab_size - len(scores))
        return SentencePieceBPE(self.vocab, scores, text_start=self.text_start)

    def encodings(self, text: bytes) -> frozenset[TokenPath]:
        """Added tokens, the longest at each place from the left; BPE in the text between them."""
        path: list[int] = []
        plain, position = b"", 0
        while position < len(text):
            here = [token for token in self.added if text.startswith(token, position)]
            if here:
                token = max(here, key=len)
                path += [*self._bpe(plain), self._number[token, TokenKind.USER_DEFINED]]
                plain, position = b"", position + len(token)
            else:
                plain, position = plain + text[position : position + 1], position + 1
        return frozenset([(*path, *self._bpe(plain))])

    def _bpe(self, text: bytes) -> list[int]:
        """By its definition: the leftmost pair that makes the piece of highest score is merged, again
        and again; characters that are no piece then are written with byte tokens."""
        score, parts = self._score, characters(text)
        while scores := [
            (-score[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in score
        ]:
            _, i = min(scores)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        tokens: list[int] = []
        for part in parts:
            if part in score:
                tokens.append(self._number[part, TokenKind.NORMAL])
            else:
                tokens += [self._number[bytes([byte]), TokenKind.BYTE] for byte in part]
        return tokens

    @cached_property
    def _score(self) -> dict[bytes, float]:
        return dict(self.pieces)

    @cached_property
    def _number(self) -> dict[tuple[bytes, TokenKind], int]:
        """A token's number by its bytes and kind, the first one where several are alike."""
        pairs = list(enumerate(zip(self.texts, self.kinds, strict=True)))
        return {pair: token for token, pair in reversed(pairs)}
