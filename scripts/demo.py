"""`make demo`: the default model completes in the middle of names of a real file, naively and exactly.

The cursors are chosen by a rule, not by hand: names of six letters or more that stand in the file a second
time, evenly spread over it, each cut at a place drawn with seed 1. The file itself says what is right.
"""

from __future__ import annotations

import argparse
import keyword
import random
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.backends.base import StopSignal
from engine.completer import Completer
from engine.errors import InputError, MidwordError
from engine.model import load_model
from engine.models.progress import bar
from engine.types import Method, Request
from lsp_server.cli.source import read_source

DEMO_FILE = Path(__file__).parents[1] / "demo" / "orders.py"
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]{5,}")
_REST_OF_NAME = re.compile(rb"[A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place inside a name; the name ends at `name_end`. Both are byte offsets."""

    offset: int
    name_end: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What one method said at a cursor."""

    text: bytes
    right: bool
    """It starts with exactly the rest of the name."""
    milliseconds: float
    tokens: int


def cursors_in(content: bytes, count: int) -> list[Cursor]:
    """At most `count` cursors in names that the file has shown before."""
    seen: set[bytes] = set()
    again = []
    for name in _NAME.finditer(content):
        if name.group() in seen and not keyword.iskeyword(name.group().decode()):
            again.append(name)
        seen.add(name.group())
    step = max(1, len(again) // count)
    draw = random.Random(1)
    return [
        Cursor(draw.randrange(name.start() + 1, name.end()), name.end()) for name in again[::step][:count]
    ]


def ask(completer: Completer, content: bytes, cursor: Cursor, method: Method) -> Answer:
    """One completion by `method`, with the rest of the name taken out. Raises MidwordError."""
    prefix, suffix = content[: cursor.offset], content[cursor.name_end :]
    result = completer.complete(Request(prefix, suffix, max_tokens=16, method=method), StopSignal())
    text = result.completions[0].text if result.completions else b""
    rest = _REST_OF_NAME.match(text)
    right = rest is not None and rest.group() == content[cursor.offset : cursor.name_end]
    return Answer(text, right, result.usage.total_ms, result.usage.tokens_evaluated)


def shown_line(content: bytes, cursor: Cursor) -> Text:
    """The line up to the cursor, the cursor, and dimmed what the file has there."""
    start = content.rfind(b"\n", 0, cursor.offset) + 1
    before = content[start : cursor.offset].decode("utf-8", "replace").lstrip()[-22:]
    rest = content[cursor.offset : cursor.name_end].decode("utf-8", "replace")
    return Text.assemble(before, ("▮", "bold cyan"), (rest, "dim"))


def shown_answer(answer: Answer) -> Text:
    """A mark and the text."""
    mark = ("✓ ", "green") if answer.right else ("✗ ", "red")
    return Text.assemble(mark, answer.text.decode("utf-8", "replace"), overflow="ellipsis", no_wrap=True)


def demonstrate(completer: Completer, path: Path, count: int, console: Console) -> None:
    """Print the table. Raises InputError for a file without a name that occurs twice."""
    content = read_source(path)
    cursors = cursors_in(content, count)
    if not cursors:
        raise InputError(f"{path} has no name of six letters or more that occurs twice; take another file")
    table = Table("cursor ▮ in the file", "naive tokens", "midword", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("ms", "tokens"):
        table.add_column(heading, justify="right")
    table.columns[0].no_wrap = True
    right = {"naive": 0, "exact": 0}
    with console.status(f"completing at {len(cursors)} cursors") as status:
        for number, cursor in enumerate(cursors, 1):
            status.update(f"completing, cursor {number} of {len(cursors)}")
            naive = ask(completer, content, cursor, "naive")
            exact = ask(completer, content, cursor, "exact")
            right["naive"] += naive.right
            right["exact"] += exact.right
            cost = (f"{exact.milliseconds:.0f}", str(exact.tokens))
            table.add_row(shown_line(content, cursor), shown_answer(naive), shown_answer(exact), *cost)
    console.print(table)
    console.print(
        f"The rest of the name is right {right['naive']} times of {len(cursors)} with naive tokens,"
        f" {right['exact']} times of {len(cursors)} with midword ({completer.model.name})."
    )
    console.print("ms and tokens: the time midword took, and how many token positions it evaluated in it.")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 after one sentence on stderr."""
    parser = argparse.ArgumentParser(description="Completions in the middle of names, naive and exact.")
    parser.add_argument("file", nargs="?", type=Path, default=DEMO_FILE, help="another file (not changed)")
    parser.add_argument("--cursors", type=int, default=8, metavar="N", help="number of cursors (8)")
    options = parser.parse_args(argv)
    try:
        with bar() as report:
            completer = Completer(load_model(progress=report))
        demonstrate(completer, options.file, max(1, options.cursors), Console())
    except MidwordError as error:
        print(f"midword: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
