"""Where the middle of an example starts and ends in its file.

Nine of ten spans are nodes of the syntax tree, so that middles end where a completion should; the others are
random characters. Training on lines alone gives almost nothing on random spans (docs of the published
recipes: README.md). Half of the middles that are nodes start inside the node, as cursors do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lsp_server.evaluation.grammar import parser_of

LONGEST_MIDDLE_BYTES = 600
SYNTAX_RATE = 0.9
INSIDE_RATE = 0.5
INDENTED_RATE = 0.5


@dataclass(frozen=True, slots=True)
class Span:
    """The middle is `text[start:end]`, in bytes, on character boundaries."""

    start: int
    end: int


def nodes_of(text: bytes, language: str) -> list[Span]:
    """All nodes that could be a middle: named and no longer than LONGEST_MIDDLE_BYTES."""
    tree = parser_of(language).parse(text)
    found = {
        (node.start_byte, node.end_byte)
        for node in _walk(tree.root_node)
        if node.is_named and 0 < node.end_byte - node.start_byte <= LONGEST_MIDDLE_BYTES
    }
    return [Span(*bounds) for bounds in sorted(found)]


def choose(text: bytes, nodes: list[Span], rng: random.Random) -> Span:
    """One middle of a file that is not empty; `nodes` as `nodes_of` gives them."""
    if not nodes or rng.random() >= SYNTAX_RATE:
        return _random_characters(text, rng)
    # short and long nodes alike: first a length's order of magnitude, then a node of it
    order = rng.choice(sorted({(node.end - node.start).bit_length() for node in nodes}))
    node = rng.choice([node for node in nodes if (node.end - node.start).bit_length() == order])
    if rng.random() < INSIDE_RATE:
        return Span(character_start(text, rng.randrange(node.start, node.end)), node.end)
    line_start = text.rfind(b"\n", 0, node.start) + 1
    indented = not text[line_start : node.start].strip()
    return Span(line_start, node.end) if indented and rng.random() < INDENTED_RATE else node


def _random_characters(text: bytes, rng: random.Random) -> Span:
    start = character_start(text, rng.randrange(len(text)))
    length = int(2 ** rng.uniform(0, LONGEST_MIDDLE_BYTES.bit_length() - 1))
    return Span(start, character_start(text, min(len(text), start + length)))


def character_start(text: bytes, position: int) -> int:
    """The last character boundary of UTF-8 `text` at or before `position`."""
    while 0 < position < len(text) and text[position] & 0xC0 == 0x80:
        position -= 1
    return position


def _walk(root: Any) -> Iterator[Any]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.children)
