"""The cursor sweep: every byte offset of some tokens of held-out files, by class of token.

At each offset two things are asked. *line*: the rest of the line was taken out, the suffix begins at its end.
*token*: the rest of the token was taken out, so that the cursor has text on both sides.
While one writes a block, its next lines are not there either: with `unwritten` lines *line* alone is asked,
and they are missing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

from lsp_server.evaluation.grammar import Token, tokens_of
from lsp_server.evaluation.items import Item
from lsp_server.evaluation.neighbours import opened_beside
from lsp_server.evaluation.sources import Source
from lsp_server.related import Window, excerpts_like, windows_of

SHOWN_BYTES = (1500, 1000)
"""Text kept before and after the cursor."""
LEAST_BEFORE = 300
MOST_FILES = 12
"""Of a package, so that a large one does not stand for all."""


def sweep(
    files: Sequence[Source], tokens_a_file: int, seed: int, open_files: int = 0, unwritten: int = 0
) -> Iterator[Item]:
    """The items of some tokens of each file, the classes in equal shares; the same for the same seed.

    With `open_files` excerpts of so many other files are shown with each. `unwritten` lines, blank ones not
    counted, are missing below the cursor's.
    """
    for source in random.Random(seed).sample(files, min(len(files), MOST_FILES)):
        random_ = random.Random(f"{seed} {source.path}")
        others = opened_beside(source.path, files, open_files, random.Random(f"{seed} beside {source.path}"))
        windows = [window for other in others for window in windows_of(other.path, other.lines)]
        classes: dict[str, list[Token]] = {}
        for token in tokens_of(source.package.language, source.text):
            if token.start >= LEAST_BEFORE and token.end - token.start >= 2:
                classes.setdefault(token.token_class, []).append(token)
        for token_class in sorted(classes):
            tokens = classes[token_class]
            for token in random_.sample(tokens, min(len(tokens), max(1, tokens_a_file // len(classes)))):
                yield from _items(source, token, windows, unwritten)


def _items(source: Source, token: Token, windows: Sequence[Window], unwritten: int) -> Iterator[Item]:
    """The questions at each offset of a token: inside it, and at its start."""
    for offset in range(token.start, token.end):
        if source.text[offset] & 0xC0 == 0x80:
            continue
        related = excerpts_like(source.text[:offset], windows) if windows else ()
        line_end = source.text.find(b"\n", offset)
        line_end = len(source.text) if line_end < 0 else line_end
        below = _below(source.text, line_end, unwritten)
        questions = [("line", line_end, below), ("token", token.end, token.end)]
        for question, end, rest in questions[:1] if unwritten else questions:
            before, after = SHOWN_BYTES
            start = max(0, offset - before)
            start = source.text.find(b"\n", start, offset) + 1 if start else 0
            yield Item(
                item_id=f"{source.package.name}/{source.path}:{offset}:{question}",
                group=f"{source.package.name}/{source.path}",
                kind=f"{token.token_class}, {question}",
                language=source.package.language,
                prefix=source.text[start:offset],
                suffix=source.text[rest : rest + after],
                middle=source.text[offset:end],
                token_rest=source.text[offset : token.end],
                path=source.path,
                related=related,
            )


def _below(text: bytes, line_end: int, lines: int) -> int:
    """The end of the line `lines` below the one that ends at `line_end`, blank ones not counted."""
    found = re.compile(rb"(?:\s*\n[^\S\n]*\S[^\n]*){%d}" % lines).match(text, line_end)
    return found.end() if found else len(text)
