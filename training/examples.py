"""From a file to a training example: the engine's own prompt, and the middle tokenised together with it.

    PSM   <PRE> text before the anchor <SUF> text after the middle <MID>  tail + middle  <END>
    SPM   <PRE> <SUF> text after the middle <MID>  text before the anchor + tail + middle  <END>
    below <END> lines below as comments  text before the cursor + middle + rest of its line  <END>
    text  a part of the file  <END>

Before the prefix may stand excerpts of other files, as the server chooses and the engine shows them. *below*
is how the engine asks a model without sentinels.

The engine forces the bytes before the cursor (engine/fim.py), so what the model sees there are the tokens of
tail and middle *together*: a training example never has a token broken at the cursor.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.fim import anchor_of, window_after, window_before
from engine.related import as_comments
from engine.tokenizers.base import Tokenizer
from lsp_server.related import excerpt_below
from training.spans import Span, character_start

FIM_RATE = 0.9
"""So many examples have a middle, a third of them in each form; PSM also where there are no lines below."""
EMPTY_SUFFIX_RATE = 0.1
PREFIX_BYTES = (64, 6000)
SUFFIX_BYTES = (16, 3000)
"""Shortest and longest text shown on either side; lengths are log-uniform."""
Related = Callable[[bytes, bytes], bytes]
"""From a prefix, and a suffix of which lines are shown, to the comments above the prefix; b"" if there are
none."""


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Token ids."""

    prefix: int
    suffix: int
    middle: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """`tokens` (n,); those from `learned_from` on are what the model should say, all others context."""

    tokens: NDArray[np.uint32]
    learned_from: int


def make_example(
    text: bytes,
    span: Span,
    tokenizer: Tokenizer,
    sentinels: Sentinels,
    rng: random.Random,
    related: Related = lambda prefix, below: as_comments(excerpt_below("", below), ""),
) -> Example:
    """One example with the middle `span` of `text`; `related` gives what is shown above its prefix."""
    if rng.random() >= FIM_RATE:
        return _plain(text, tokenizer, sentinels, rng)
    start, end = span
    prefix = window_before(text[:start], _log_uniform(PREFIX_BYTES, rng))
    suffix = b""
    if rng.random() >= EMPTY_SUFFIX_RATE:
        suffix = window_after(text[end:], _log_uniform(SUFFIX_BYTES, rng))
    form = rng.choice((psm, spm, commented))
    if form is commented and not excerpt_below("", suffix):
        form = psm
    above = related(prefix, suffix if form is commented else b"")
    return form(prefix, text[start:end], suffix, tokenizer, sentinels, above)


def psm(
    prefix: bytes,
    middle: bytes,
    suffix: bytes,
    tokenizer: Tokenizer,
    sentinels: Sentinels,
    above: bytes = b"",
) -> Example:
    """Anchored prefix-suffix-middle."""
    anchor = anchor_of(prefix)
    before = tokenizer.encode(tokenizer.text_start + above + prefix[:anchor])
    context = [sentinels.prefix, *before, sentinels.suffix, *tokenizer.encode(suffix), sentinels.middle]
    said = tokenizer.encode(prefix[anchor:] + middle)
    return _example(context, said, len(prefix) - anchor, tokenizer, sentinels)


def spm(
    prefix: bytes,
    middle: bytes,
    suffix: bytes,
    tokenizer: Tokenizer,
    sentinels: Sentinels,
    above: bytes = b"",
) -> Example:
    """StarCoder's form: PSM with an empty first section; the prefix runs on into the middle."""
    context = [sentinels.prefix, sentinels.suffix, *tokenizer.encode(suffix), sentinels.middle]
    return _running_on(context, above + prefix, middle, tokenizer, sentinels)


def commented(
    prefix: bytes,
    middle: bytes,
    suffix: bytes,
    tokenizer: Tokenizer,
    sentinels: Sentinels,
    above: bytes = b"",
) -> Example:
    """The lines below stand in `above`; the text ends where they begin."""
    rest_of_line = b"".join(suffix.splitlines(keepends=True)[:1])
    return _running_on([sentinels.end], above + prefix, middle + rest_of_line, tokenizer, sentinels)


def _running_on(
    context: list[int], shown: bytes, new: bytes, tokenizer: Tokenizer, sentinels: Sentinels
) -> Example:
    """Behind `context` stands one text: `shown`, and `new`, which is learned."""
    shown = tokenizer.text_start + shown
    return _example(context, tokenizer.encode(shown + new), len(shown), tokenizer, sentinels)


def _example(
    context: list[int], said: tuple[int, ...], given_bytes: int, tokenizer: Tokenizer, sentinels: Sentinels
) -> Example:
    """Learned is every token of `said` that reaches beyond its first `given_bytes` bytes, and the end."""
    ends = np.cumsum([len(tokenizer.vocab.decode((token,))) for token in said])
    given = int(np.searchsorted(ends, given_bytes, side="right"))
    tokens = np.array([*context, *said, sentinels.end], np.uint32)
    return Example(tokens, len(context) + given)


def _plain(text: bytes, tokenizer: Tokenizer, sentinels: Sentinels, rng: random.Random) -> Example:
    start = character_start(text, rng.randrange(len(text)))
    part = window_after(text[start:], PREFIX_BYTES[1])
    tokens = tokenizer.encode(tokenizer.text_start + part)
    end = (sentinels.end,) if start + len(part) == len(text) else ()
    return Example(np.array([*tokens, *end], np.uint32), 0)


def _log_uniform(bounds: tuple[int, int], rng: random.Random) -> int:
    low, high = bounds
    return int(low * (high / low) ** rng.random())
