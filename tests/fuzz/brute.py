"""The law by its definition, for any vocabulary: every token is tried at every place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.backends.fake import Table
from engine.covers import STOP
from engine.tree import TokenPath
from engine.vocab import FloatArray


@dataclass(frozen=True)
class Grammar:
    """What may be said: which token sequences begin a text, and which are one."""

    token_bytes: tuple[bytes, ...]
    """κ; b"" for what is not text."""
    is_canonical: Callable[[TokenPath], bool]
    is_final: Callable[[TokenPath], bool]
    stop_tokens: frozenset[int]
    """A token that some text contains is text, even if it is named here."""

    def ends(self) -> list[int]:
        """The stop tokens that are not text."""
        return [t for t in self.stop_tokens if not (self.token_bytes[t] and self.is_canonical((t,)))]


@dataclass(frozen=True)
class Truth:
    """Every cover of a text, and the shares of its probability."""

    covers: dict[TokenPath, float]
    log_total: float
    shares: FloatArray
    """(257,) by next byte, and stop."""


def enumerated(grammar: Grammar, table: Table, fixed: TokenPath, text: bytes) -> Truth | None:
    """The canonical law after `text` behind `fixed`. None if nothing covers the text."""
    covers: dict[TokenPath, float] = {}
    texts = [(token, piece) for token, piece in enumerate(grammar.token_bytes) if piece]

    def extend(path: TokenPath, read: bytes, logp: float) -> None:
        if len(read) >= len(text):
            covers[path] = float(np.exp(logp))
            return
        row = table(fixed + path)
        for token, piece in texts:
            new = read + piece
            if new[: len(text)] == text[: len(new)] and grammar.is_canonical((*path, token)):
                extend((*path, token), new, logp + row[token])

    extend((), b"", 0.0)
    total = sum(covers.values())
    if not covers:
        return None
    mass, ends = np.zeros(STOP + 1), grammar.ends()
    for path, probability in covers.items():
        read = b"".join(grammar.token_bytes[t] for t in path)
        if len(read) > len(text):
            mass[read[len(text)]] += probability
            continue
        row = np.exp(table(fixed + path))
        if grammar.is_final(path):
            mass[STOP] += probability * row[ends].sum()
        for token, piece in texts:
            if grammar.is_canonical((*path, token)):
                mass[piece[0]] += probability * row[token]
    return Truth(covers, float(np.log(total)), mass / total)
