"""Where the middle of an example starts and ends in its file: syntax nodes, lines, random characters.

Nodes, so that middles end where a completion should (Gong et al. 2024). Lines, since the head of a block, as
`for name in names:`, is no node, and so that the model learns whether a line's end is for it to say or stands
in the suffix. Characters, without which next to nothing is learned of random spans (Bavarian et al. 2022).
Half of the nodes and a quarter of the lines start inside, as cursors do.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from lsp_server.evaluation.grammar import parser_of

LONGEST_MIDDLE_BYTES = 600
LINES_RATE, CHARACTERS_RATE = 0.25, 0.15
"""All others are nodes, where there are any."""
MOST_LINES = 8
INSIDE_RATE = 0.5
INDENTED_RATE = 0.5


Span = tuple[int, int]
"""Start and end of a middle in bytes, on character boundaries."""
Nodes = list[list[Span]]
"""By the order of magnitude of their lengths, short ones first."""


def nodes_of(text: bytes, language: str) -> Nodes:
    """All nodes that could be a middle: named and no longer than LONGEST_MIDDLE_BYTES."""
    nodes = defaultdict[int, set[Span]](set)
    for node in _walk(parser_of(language).parse(text).root_node):
        start, end = node.start_byte, node.end_byte
        if 0 < end - start <= LONGEST_MIDDLE_BYTES and node.is_named:
            nodes[(end - start).bit_length()].add((start, end))
    return [sorted(nodes[order]) for order in sorted(nodes)]


def choose(text: bytes, nodes: Nodes, rng: random.Random) -> Span:
    """One middle of a file that is not empty; `nodes` as `nodes_of` gives them."""
    kind = rng.random()
    if kind < LINES_RATE and (lines := _random_lines(text, rng)):
        return lines
    if kind < LINES_RATE + CHARACTERS_RATE or not nodes:
        return _random_characters(text, rng)
    start, end = rng.choice(rng.choice(nodes))  # short and long nodes alike
    if rng.random() < INSIDE_RATE:
        return character_start(text, rng.randrange(start, end)), end
    line_start = text.rfind(b"\n", 0, start) + 1
    indented = not text[line_start:start].strip()
    return (line_start if indented and rng.random() < INDENTED_RATE else start), end


def _random_lines(text: bytes, rng: random.Random) -> Span | None:
    """Some lines, with the line break before or behind them or without; None if blank ones were drawn."""
    first = text.rfind(b"\n", 0, rng.randrange(len(text))) + 1
    end = first
    for _ in range(int(2 ** rng.uniform(0, MOST_LINES.bit_length() - 0.01))):
        end = (text.find(b"\n", end) + 1) or len(text)
    drawn = text[first:end]
    if not drawn.strip() or len(drawn) > LONGEST_MIDDLE_BYTES:
        return None
    start = first + rng.choice((
        0, -1 if first else 0, len(drawn) - len(drawn.lstrip()), rng.randrange(len(drawn.split(b"\n")[0]) + 1)
    ))  # fmt: skip
    end -= drawn.endswith(b"\n") and rng.random() < 0.5
    return (character_start(text, start), end) if start < end else None


def _random_characters(text: bytes, rng: random.Random) -> Span:
    start = character_start(text, rng.randrange(len(text)))
    length = int(2 ** rng.uniform(0, LONGEST_MIDDLE_BYTES.bit_length() - 1))
    return start, character_start(text, min(len(text), start + length))


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
