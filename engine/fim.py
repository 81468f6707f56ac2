"""From a request to a prompt: sentinels by id, text cut at clean places, an anchor, a tail.

    PSM   <PRE> text before the anchor <SUF> text after the cursor <MID>  tail▮
    SPM   <SUF> text after the cursor <PRE> text before the anchor        tail▮
    none  text before the tail                                            tail▮

In PSM a sentinel stands at the anchor, so the anchor is a free choice: it is the start of the last line
above the cursor's that is not blank (docs/decisions/0003-anchor-one-line-up.md). In SPM and without
sentinels the text runs on, so the tail starts where no continuation can change the tokens before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.tokenizers.base import Tokenizer
from engine.tree import TokenPath

Order = Literal["psm", "spm", "none"]

WINDOW_STEP_BYTES = 1024
"""The window's start moves in steps of this size, so that it stays put while one types."""
ANCHOR_REACH_BYTES = 1024
"""How far above the cursor the anchor may lie."""


@dataclass(frozen=True, slots=True)
class Template:
    """How a model is shown prefix and suffix. Fields hold token ids; empty tuples where unused."""

    order: Order
    start: TokenPath = ()
    """Before everything: BOS, where the model has one."""
    prefix: TokenPath = ()
    suffix: TokenPath = ()
    middle: TokenPath = ()
    suffix_first: bool = False
    """PSM sentinels with the suffix section first (Mellum, Seed-Coder)."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Tokens that stay, and the bytes that follow them: `tail` is forced, never tokenised naively."""

    fixed: TokenPath
    tail: bytes
    unseen: bytes = b""
    """What the window shows right of the cursor, where the template has no place for it."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Most bytes of text shown on either side of the cursor."""

    prefix_bytes: int
    suffix_bytes: int


def build_prompt(
    tokenizer: Tokenizer,
    template: Template,
    prefix: bytes,
    suffix: bytes,
    budget: Budget,
    separator: int,
    above: bytes = b"",
) -> Prompt:
    """The prompt for a cursor between `prefix` and `suffix`, with `above` before what is shown of the prefix.

    Text beyond the budget, or beyond a byte that the vocabulary cannot express, is left out. `separator`
    is the token that stands before a text that nothing else precedes (the model's document separator); it
    does not depend on the text, or typing would change the prompt's start.
    """
    above = tokenizer.text_start + above.translate(None, bytes(tokenizer.missing_bytes))
    shown_prefix = window_before(_expressible_end(prefix, tokenizer.missing_bytes), budget.prefix_bytes)
    shown_suffix = window_after(_expressible_start(suffix, tokenizer.missing_bytes), budget.suffix_bytes)
    if template.order == "psm":
        anchor = anchor_of(shown_prefix)
        before = template.prefix + tokenizer.encode(above + shown_prefix[:anchor])
        after = template.suffix + tokenizer.encode(shown_suffix)
        sections = after + before if template.suffix_first else before + after
        return Prompt(template.start + sections + template.middle, shown_prefix[anchor:])
    shown_prefix = above + shown_prefix
    encoding = tokenizer.encode_stable(shown_prefix)
    stable = encoding.tokens[: encoding.stable_tokens]
    tail = shown_prefix[encoding.stable_bytes :]
    if template.order == "spm":
        after = template.suffix + tokenizer.encode(shown_suffix)
        return Prompt(template.start + after + template.prefix + template.middle + stable, tail)
    return Prompt((template.start or (separator,)) + stable, tail, shown_suffix)


def anchor_of(text: bytes) -> int:
    """Byte offset where forced bytes begin: the start of the last non-blank line above the last one.

    The start of the last line itself if that line is further than ANCHOR_REACH_BYTES away. It does not
    move while the last line is typed.
    """
    line_start = text.rfind(b"\n") + 1
    above = text[:line_start].rstrip()
    anchor = above.rfind(b"\n") + 1
    return anchor if len(text) - anchor <= ANCHOR_REACH_BYTES else line_start


def window_before(text: bytes, most: int) -> bytes:
    """At most `most` last bytes of `text`, cut at a line start that stays put while text is appended."""
    if len(text) <= most:
        return text
    excess = len(text) - most
    step = max(1, min(WINDOW_STEP_BYTES, most // 4))
    cut = -(-excess // step) * step
    line_start = text.find(b"\n", cut - 1) + 1
    start = line_start if 0 < line_start <= len(text) - most // 2 else _char_start(text, cut)
    return text[start:]


def window_after(text: bytes, most: int) -> bytes:
    """At most `most` first bytes of `text`, cut at a line end where there is one."""
    if len(text) <= most:
        return text
    line_end = text.rfind(b"\n", 0, most) + 1
    return text[: line_end or _char_start(text, most)]


def _char_start(text: bytes, position: int) -> int:
    """The first position at or after `position` that is not inside a UTF-8 character."""
    while position < len(text) and text[position] & 0xC0 == 0x80:
        position += 1
    return position


def _expressible_end(text: bytes, missing: Sequence[int] | frozenset[int]) -> bytes:
    """`text` after its last byte in `missing`."""
    last = max((text.rfind(bytes([byte])) for byte in missing), default=-1)
    return text[last + 1 :]


def _expressible_start(text: bytes, missing: Sequence[int] | frozenset[int]) -> bytes:
    """`text` before its first byte in `missing`."""
    found = [position for byte in missing if (position := text.find(bytes([byte]))) >= 0]
    return text[: min(found, default=len(text))]
