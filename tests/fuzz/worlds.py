"""Random worlds: a vocabulary of either family, a model of random tables, a template, stop tokens.

Toys have their own encoders (`tests/engine/toy_families.py`); trained vocabularies are compared with the slow
definitions of the engine's tokenizer, decode and encode again.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

from engine.cache import Scorer
from engine.fim import Template
from engine.model import Model
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.expressions import EXPRESSIONS
from engine.tokenizers.sentencepiece import SentencePieceBPE
from engine.vocab import TokenKind, Vocab
from tests.engine.corpus import CODE, STDLIB, TORTURE
from tests.engine.toy_families import ByteLevelToy, SentencePieceToy, Toy
from tests.engine.toy_models import ToyModel
from tests.engine.toys import TOYS
from tests.engine.vocabularies import train_merges, trained
from tests.fuzz.backend import WatchedBackend

SYMBOLS = ("a", "b", "s", "e", "l", "A", " ", "\n", "\t", "\r", "'", "1", "2", ".", "/", "é", "×", "\u0301")
CONTROL = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|endoftext|>")


@dataclass(frozen=True)
class World:
    """All that a request is answered with. `toy` is None where no encoder of its own exists."""

    name: str
    tokenizer: Tokenizer
    model_of_tables: ToyModel | None
    stop_tokens: tuple[int, ...]
    separator: int
    vocab_size: int
    """Columns of a row: of padding too."""
    template: Template
    alphabet: tuple[bytes, ...]
    """What most of the text is made of."""
    context_length: int
    seed: int

    @property
    def toy(self) -> Toy | None:
        return self.model_of_tables.toy if self.model_of_tables else None

    def backend(self) -> WatchedBackend:
        """A new backend of the same model."""
        return WatchedBackend(self.vocab_size, self.seed, self.context_length)

    def model(self, row_budget: int | None = None) -> Model:
        """The model on a new backend, its row cache of the given size or the usual one."""
        backend = self.backend()
        scorer = Scorer(backend) if row_budget is None else Scorer(backend, row_budget)
        return Model(self.name, self.tokenizer, scorer, self.template, self.stop_tokens, self.separator)


def random_world(rng: random.Random) -> World:
    """One of: the toys of the tests, toys drawn at random, vocabularies trained on code."""
    kind = rng.choice(("known toy", "byte-level toy", "SentencePiece toy", "trained", "trained"))
    if kind == "trained":
        return _trained_world(rng)
    if kind == "known toy":
        name = rng.choice(sorted(TOYS))
        return _toy_world(rng, f"toy {name!r}", TOYS[name])
    toy = byte_level_toy(rng) if kind == "byte-level toy" else sentencepiece_toy(rng)
    return _toy_world(rng, repr(toy), toy)


# -- toys -----------------------------------------------------------------------------------------


def byte_level_toy(rng: random.Random) -> ByteLevelToy:
    """A few symbols, a few merges of what was formed before, sometimes with ranks out of order."""
    chars = rng.sample(SYMBOLS, rng.randint(1, 4))
    alphabet = tuple(dict.fromkeys(bytes([byte]) for char in chars for byte in char.encode()))
    texts, merges = list(alphabet), dict[tuple[bytes, bytes], None]()
    for _ in range(rng.randint(0, 5)):
        left, right = rng.choice(texts), rng.choice(texts)
        merges[left, right] = None
        texts = list(dict.fromkeys([*texts, left + right]))
    order = list(merges)
    if rng.random() < 0.3:
        rng.shuffle(order)
    return ByteLevelToy(alphabet, tuple(order), rng.choice(sorted(EXPRESSIONS)))


def sentencepiece_toy(rng: random.Random) -> SentencePieceToy:
    """Characters that are pieces or bytes, longer pieces with scores in any order, added tokens."""
    chars = [char.encode() for char in rng.sample((*SYMBOLS, "▁"), rng.randint(1, 3))]
    alphabet = tuple(dict.fromkeys(bytes([byte]) for char in chars for byte in char))
    singles = rng.sample(chars, rng.randint(0, len(chars)))
    texts = list(singles)
    for _ in range(rng.randint(0, 4) if singles else 0):
        texts = list(dict.fromkeys([*texts, rng.choice(texts) + rng.choice(texts)]))
    pieces = tuple((text, float(-rng.randint(1, 9))) for text in texts)
    expressed = {piece for piece, _ in pieces if len(piece) == 1}
    needed = [byte for byte in alphabet if byte not in expressed or rng.random() < 0.5]
    added = {b"".join(rng.choices(chars, k=rng.randint(1, 4))) for _ in range(rng.choice((0, 0, 1, 3)))}
    text_start = rng.choice((b"", b" ")) if b" " in alphabet else b""
    return SentencePieceToy(alphabet, pieces, b"".join(needed), tuple(sorted(added)), text_start)


def _toy_world(rng: random.Random, name: str, toy: Toy) -> World:
    seed = rng.randrange(2**32)
    sentinels = (toy.separator,) * 3
    return World(
        name=name,
        tokenizer=toy.tokenizer,
        model_of_tables=ToyModel.random(toy, seed),
        stop_tokens=_stops(rng, [toy.stop], range(len(toy.texts))),
        separator=toy.separator,
        vocab_size=toy.vocab_size,
        template=_template(rng, sentinels, toy.separator),
        alphabet=toy.alphabet,
        context_length=rng.choice((128, 300, 4096)),
        seed=seed,
    )


# -- trained vocabularies -------------------------------------------------------------------------

_WHOLE = (b" return", b" xy", b"1234", b"123", b"\n\n\n\n", "été".encode(), b"()")
_VARIANTS = ("whole words", "added letters", "missing bytes", "byte fallback", "byte fallback, dummy space")


@cache
def trained_tokenizer(name: str) -> Tokenizer:
    """Bytes and some hundred merges: of one family's expressions, or one of _VARIANTS."""
    corpus = CODE * 4 + TORTURE * 2 + STDLIB[:2500]
    if name.startswith("byte fallback"):
        return _byte_fallback(b" " if "dummy" in name else b"")
    family = {"whole words": "llama-3", "added letters": "deepseek-coder"}.get(name, "gpt-2")
    return trained(
        family if name in _VARIANTS else name,
        corpus,
        merges=140,
        control=CONTROL,
        missing=b"\xf5\x01~" if name == "missing bytes" else b"",
        whole=_WHOLE if name == "whole words" else (),
        added="éß" if name == "added letters" else "",
    ).tokenizer


def _byte_fallback(text_start: bytes) -> SentencePieceBPE:
    """Pieces of ASCII words with the space before them and a few wide characters; a token for each byte."""
    ascii_text = bytes(byte for byte in CODE * 4 + STDLIB[:4000] if byte < 0x80)
    words = Counter(re.findall(rb" *[A-Za-z_]+| *[^A-Za-z_\s]| +|\n +", ascii_text))
    chars = sorted({bytes([byte]) for byte in ascii_text if byte != 0x0A} | {"é".encode(), "你".encode()})
    merged = [left + right for left, right in train_merges(words, 140) if b"\n" not in left + right]
    pieces = list(dict.fromkeys([*chars, *merged]))
    added = [b"\n\n", b"\n\n\n", b"\t\t", b"<div>"]
    texts = [*pieces, *(bytes([byte]) for byte in range(256)), *added, *(b"" for _ in CONTROL)]
    counted = ((TokenKind.NORMAL, pieces), (TokenKind.BYTE, range(256)), (TokenKind.USER_DEFINED, added))
    kinds = [kind for kind, tokens in counted for _ in tokens] + [TokenKind.CONTROL] * len(CONTROL)
    scores = [-float(rank) for rank in range(len(pieces))] + [0.0] * (len(texts) - len(pieces))
    return SentencePieceBPE(Vocab(texts, kinds), scores, text_start=text_start)


def _trained_world(rng: random.Random) -> World:
    name, seed = rng.choice((*sorted(EXPRESSIONS), *_VARIANTS)), rng.randrange(2**32)
    tokenizer = trained_tokenizer(name)
    control = [token for token, kind in enumerate(tokenizer.vocab.kinds) if kind == TokenKind.CONTROL]
    size = len(tokenizer.vocab)
    return World(
        name=f"trained {name!r}",
        tokenizer=tokenizer,
        model_of_tables=None,
        stop_tokens=_stops(rng, control[3:], range(size)),
        separator=control[3],
        vocab_size=size + rng.choice((0, 0, 3)),
        template=_template(rng, tuple(control[:3]), control[3]),
        alphabet=(),
        context_length=rng.choice((128, 300, 4096)),
        seed=seed,
    )


# -- what both have -------------------------------------------------------------------------------


def _stops(rng: random.Random, usual: list[int], tokens: range) -> tuple[int, ...]:
    """Mostly the model's own end; sometimes none, or tokens that are text as well."""
    kind = rng.random()
    if kind < 0.75:
        return tuple(usual)
    if kind < 0.8:
        return ()
    return (*usual, *rng.choices(tokens, k=rng.randint(1, 2)), *usual)


def _template(rng: random.Random, sentinels: tuple[int, ...], separator: int) -> Template:
    prefix, suffix, middle = ((token,) for token in sentinels)
    start = rng.choice(((), (separator,)))
    order = rng.choice(("none", "none", "psm", "spm"))
    if order == "none":
        return Template("none", start)
    if order == "psm":
        return Template("psm", start, prefix, suffix, middle, suffix_first=rng.random() < 0.3)
    return Template("spm", start, prefix, suffix, rng.choice(((), middle)))
