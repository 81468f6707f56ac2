"""SentencePiece BPE with byte fallback (Llama 2, Mistral, Phi-3, Gemma): canonical encoding of bytes.

No regular expression cuts the text, so BPE could run over all of it. But tokens never hold certain
neighbouring bytes (a letter and then a space, in most vocabularies), and

    Claim. Where two neighbouring bytes stand side by side in no token, no merge ever crosses.
    Proof. A merge across would make a token that holds them side by side.

Such places are *cuts*; what lies between two of them is a word here. *Added* tokens (runs of newlines,
HTML tags in Gemma) are found first, leftmost and longest, and are words of their own.

A space is spelled ▁ (U+2581) in these vocabularies. κ says space, and a literal ▁ in the text is written
with byte tokens: the model's own tokenizer would turn it into a space and so alter the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import regex

from engine.errors import InputError
from engine.kernels import Successors
from engine.tokenizers.base import Encoding
from engine.tokenizers.bpe import MergeTable
from engine.tokenizers.masks import MaskCache
from engine.tokenizers.pairs import Merge, PairTable
from engine.tokenizers.utf8 import partial_length
from engine.vocab import BoolArray, IntArray, TokenKind, Vocab


class SentencePieceBPE:
    """The tokenizer of one model. Implements `tokenizers.base.Tokenizer`."""

    def __init__(
        self,
        vocab: Vocab,
        scores: Sequence[float],
        *,
        text_start: bytes,
        merges: Sequence[Merge] | None = None,
    ) -> None:
        """`scores` are the GGUF's: BPE merges into the token of highest score first.

        Where a vocabulary lists its `merges` (Gemma 4, tokenizer.json), their order counts instead.

        Vocabulary kinds: NORMAL, BYTE (fallback), USER_DEFINED (added). `text_start` is the dummy space,
        or b"".
        """
        self.vocab = vocab
        self.text_start = text_start
        kinds = np.array(vocab.kinds)
        self._is_normal: BoolArray = kinds == TokenKind.NORMAL
        self._normal = {vocab.token_bytes[t]: t for t in np.flatnonzero(self._is_normal).tolist()}
        self._bytes = {vocab.token_bytes[t][0]: t for t in np.flatnonzero(kinds == TokenKind.BYTE).tolist()}
        self._added = {
            vocab.token_bytes[t]: t for t in np.flatnonzero(kinds == TokenKind.USER_DEFINED).tolist()
        }
        self.missing_bytes = frozenset(
            byte for byte in range(256) if byte not in self._bytes and bytes([byte]) not in self._normal
        )
        self._inner = _inner_pairs(self._normal)
        self._added_pattern = _longest_first(self._added)
        self._added_rests = _rests_by_beginning(self._added)
        self._longest_added = max(map(len, self._added), default=0)
        self._encode_word = lru_cache(maxsize=1 << 16)(self._bpe)
        symbols = [t for spelled, t in self._normal.items() if len(spelled.decode("utf-8", "replace")) == 1]
        candidates, ranks = self._candidates(scores, merges)
        self._merges = MergeTable(candidates, ranks)
        self._pairs = PairTable(vocab, np.array(symbols), candidates, ranks)
        self._reachable_rows = self._reachable()
        self._successors_of = MaskCache(self._successors_after)

    # -- derivations ------------------------------------------------------------------------------

    def _candidates(
        self, scores: Sequence[float], merges: Sequence[Merge] | None
    ) -> tuple[IntArray, IntArray]:
        """All merges (n, 3) and their ranks (n,)."""
        if merges is not None:
            listed = np.array(merges, dtype=np.int64).reshape(-1, 3)
            return listed, np.arange(len(listed))
        splits = np.array(list(self._splits()), dtype=np.int64).reshape(-1, 3)
        return splits, _dense_ranks(scores)[splits[:, 2]]

    def _splits(self) -> Iterator[Merge]:
        """Every split of a token into two tokens is a merge, ranked by the score of the whole."""
        for spelled, token in self._normal.items():
            for cut in range(1, len(spelled)):
                left, right = self._normal.get(spelled[:cut]), self._normal.get(spelled[cut:])
                if left is not None and right is not None:
                    yield left, right, token

    def _reachable(self) -> BoolArray:
        """(rows,): tokens that are what the encoder makes of their own bytes somewhere."""
        reachable = self._pairs.reachable.copy()
        spelled_otherwise = self._normal.keys() | self._added.keys()
        for byte, token in self._bytes.items():
            reachable[token] = byte >= 0x80 or bytes([byte]) not in spelled_otherwise
        for spelled, token in self._normal.items():
            if self._added_pattern and self._added_pattern.search(spelled):
                reachable[token] = False
        for spelled, token in self._added.items():
            reachable[token] = bool(spelled)
        return reachable[self.vocab.order]

    # -- encoding ---------------------------------------------------------------------------------

    def encode(self, text: bytes) -> tuple[int, ...]:
        """Canonical tokens of `text`. Raises InputError for a byte that the vocabulary cannot express."""
        return self.encode_stable(text).tokens

    def encodings(self, text: bytes) -> list[tuple[int, ...]]:
        """One: a character that `text` ends inside can only be byte tokens."""
        return [self.encode(text)]

    def is_canonical(self, tokens: Sequence[int]) -> bool:
        """Decode and encode again: the slow, obvious definition."""
        return self.encode(self.vocab.decode(tokens)) == tuple(tokens)

    def is_final(self, tokens: Sequence[int]) -> bool:
        """The same: what follows decides nothing before it."""
        return self.is_canonical(tokens)

    def may_end(self, tokens: Sequence[int]) -> bool:
        """Always, for the same reason."""
        return True

    def encode_stable(self, text: bytes) -> Encoding:
        """`encode` with the stable part: the words that end before anything that could still grow."""
        words = list(self._words(text))
        growing = self._growing_start(text, words)
        tokens: list[int] = []
        stable_tokens = stable_bytes = position = 0
        for word in words:
            if position <= growing:
                stable_tokens, stable_bytes = len(tokens), position
            tokens += self._encode_piece(word)
            position += len(word)
        return Encoding(tuple(tokens), stable_tokens, stable_bytes)

    def _growing_start(self, text: bytes, words: list[bytes]) -> int:
        """Where the part begins that a continuation may tokenise otherwise."""
        growing = len(text) - len(words[-1]) if words else 0
        growing = min(growing, len(text) - partial_length(text))
        for start in range(max(0, len(text) - self._longest_added), growing):
            if text[start:] in self._added_rests:
                return start
        return growing

    def _words(self, text: bytes) -> Iterator[bytes]:
        """Added tokens, and the stretches between cuts."""
        end = 0
        for match in self._added_pattern.finditer(text) if self._added_pattern else ():
            yield from self._cut(text[end : match.start()])
            yield match.group()
            end = match.end()
        yield from self._cut(text[end:])

    def _cut(self, text: bytes) -> Iterator[bytes]:
        if not text:
            return
        values = np.frombuffer(text, dtype=np.uint8)
        starts = np.flatnonzero(~self._inner[values[:-1], values[1:]]) + 1
        for start, end in zip([0, *starts.tolist()], [*starts.tolist(), len(text)], strict=True):
            yield text[start:end]

    def _encode_piece(self, word: bytes) -> tuple[int, ...]:
        if word in self._added:
            return (self._added[word],)
        return self._encode_word(word) if len(word) <= 64 else self._bpe(word)

    def _bpe(self, word: bytes) -> tuple[int, ...]:
        """BPE of one word."""
        return self._merges.encode(self._start(word))

    def _start(self, word: bytes) -> list[int]:
        """The tokens BPE starts from: characters, and the bytes of those that are no tokens."""
        symbols: list[int] = []
        for char in word.decode("utf-8", "surrogateescape"):
            spelled = char.encode("utf-8", "surrogateescape")
            if spelled in self._normal:
                symbols.append(self._normal[spelled])
                continue
            try:
                symbols += [self._bytes[byte] for byte in spelled]
            except KeyError as error:
                raise InputError(
                    f"the model's vocabulary cannot express the byte 0x{error.args[0]:02x} in the text"
                ) from None
        return symbols

    # -- successors -------------------------------------------------------------------------------

    def successors(self, tokens: Sequence[int]) -> BoolArray:
        """(vocab.rows,): the tokens t for which tokens + [t] is canonical, given that `tokens` is."""
        return self._successors_of(self.context_end(tokens))

    def successor_rule(self, tokens: Sequence[int]) -> Successors:
        """See `Tokenizer.successor_rule`: here always a mask."""
        return self.successors(tokens)

    @property
    def alone(self) -> None:
        """See `Tokenizer.alone`."""
        return None

    def stable_alone(self, left: int, right: int) -> None:
        """See `Tokenizer.stable_alone`."""
        return None

    def joined_alone(self, left: int, right: int) -> None:
        """See `Tokenizer.joined_alone`."""
        return None

    def rule_alone(self, group: int) -> None:
        """See `Tokenizer.rule_alone`."""
        return None

    def context_end(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """See `Tokenizer.context_end`."""
        return tuple(tokens[-max(4, self._longest_added) :])

    def _successors_after(self, tokens: tuple[int, ...]) -> BoolArray:
        if not tokens:
            return self._reachable_rows
        allowed = self._reachable_rows.copy()
        if self._is_normal[tokens[-1]]:
            allowed &= self._pairs.successors(tokens[-1]) | ~self._is_normal[self.vocab.order]
        text = self.vocab.decode(tokens)
        if partial := partial_length(text):
            self._forbid_completions(text[len(text) - partial :], allowed)
        for rest in self._crossing_rests(tokens, text):
            low, high = self.vocab.prefix_range(rest)
            allowed[low:high] = False
        return allowed

    def _forbid_completions(self, partial: bytes, allowed: BoolArray) -> None:
        """A character that is a token of its own is never written with byte tokens."""
        for byte in range(0x80, 0xC0):
            if partial + bytes([byte]) in self._normal and byte in self._bytes:
                allowed[self.vocab.row_of[self._bytes[byte]]] = False

    def _crossing_rests(self, tokens: tuple[int, ...], text: bytes) -> Iterator[bytes]:
        """What would complete an added token that begins inside the context.

        It may begin anywhere but strictly inside an added token that is already there.
        """
        position = len(text)
        for token in reversed(tokens):
            spelled = self.vocab.token_bytes[token]
            begins = (0,) if spelled in self._added else range(len(spelled))
            position -= len(spelled)
            for begin in begins:
                yield from self._added_rests.get(text[position + begin :], ())
            if len(text) - position > self._longest_added:
                return


def _dense_ranks(scores: Sequence[float]) -> IntArray:
    """(tokens,) 0 for the highest score; equal scores share a rank."""
    _, ranks = np.unique(-np.asarray(scores, dtype=np.float64), return_inverse=True)
    return ranks.astype(np.int64)


def _inner_pairs(spelled: dict[bytes, int]) -> BoolArray:
    """(256, 256): whether two bytes stand side by side in some token."""
    joined = np.frombuffer(b"".join(spelled), dtype=np.uint8)
    ends = np.cumsum([len(token) for token in spelled], dtype=np.int64)
    inside = np.ones(len(joined), dtype=bool)
    inside[ends - 1] = False
    inner = np.zeros((256, 256), dtype=bool)
    places = np.flatnonzero(inside)
    inner[joined[places], joined[places + 1]] = True
    return inner


def _longest_first(added: dict[bytes, int]) -> regex.Pattern[bytes] | None:
    spelled = sorted(added, key=len, reverse=True)
    return regex.compile(b"|".join(map(regex.escape, spelled))) if spelled else None


def _rests_by_beginning(added: dict[bytes, int]) -> dict[bytes, list[bytes]]:
    """Proper beginning of an added token → what completes it."""
    rests: dict[bytes, list[bytes]] = {}
    for spelled in added:
        for cut in range(1, len(spelled)):
            rests.setdefault(spelled[:cut], []).append(spelled[cut:])
    return rests
