"""Traces: the same for the same seed, and typed back they give the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import InputError
from lsp_server.documents import Document, Edit, Position
from lsp_server.replay.buffer import Buffer, Change
from lsp_server.replay.cursors import CLASSES, CursorClass, cursor_class
from lsp_server.replay.editor import _without
from lsp_server.replay.traces import ACCEPTS, Trace, make_trace

SOURCE = Path(__file__).read_text() + "# größer 😀 als\n" * 3


def test_the_same_seed_gives_the_same_trace() -> None:
    assert make_trace("a.py", SOURCE, 300, 1) == make_trace("a.py", SOURCE, 300, 1)
    assert make_trace("a.py", SOURCE, 300, 1) != make_trace("a.py", SOURCE, 300, 2)


def test_a_trace_has_all_that_people_do() -> None:
    trace = make_trace("a.py", SOURCE, 400, 3)
    events = [event for hole in trace.holes for event in hole.events]
    assert {event.kind for event in events} == {
        "move",
        "type",
        "slip",
        "take-back",
        *ACCEPTS,
        "paste",
        "undo",
    }
    assert trace.actions >= 400 and all(0 < event.wait_ms <= 2500 for event in events)
    assert any(event.text.startswith("\n ") for event in events), "an editor indents the next line"


def played(trace: Trace) -> tuple[str, list[tuple[Buffer, Change]]]:
    """The text at the end if nothing is accepted, and the changes on the way."""
    holes = sorted(trace.holes, key=lambda hole: hole.start)
    buffer, changes = Buffer(_without(trace.text, holes)), []
    for hole in trace.holes:
        buffer.cursor = hole.start - sum(h.end - h.start for h in holes if h.start < hole.start)
        holes.remove(hole)
        for event in hole.events:
            if event.kind in ("type", "slip", "paste"):
                changes.append((buffer, buffer.edit(0, event.text)))
            elif event.kind in ("take-back", "undo"):
                changes.append((buffer, buffer.edit(1, "") if event.kind == "take-back" else buffer.undo()))
    return buffer.text, changes


@pytest.mark.parametrize("seed", range(5))
def test_typing_a_trace_gives_the_file(seed: int) -> None:
    trace = make_trace("a.py", SOURCE.replace("\n", "\r\n"), 500, seed)
    assert played(trace)[0] == trace.text == SOURCE


def test_the_changes_are_what_the_servers_documents_understand() -> None:
    trace = make_trace("a.py", SOURCE, 2000, 4)
    document = Document("u", 1)
    document.replace(_without(trace.text, sorted(trace.holes, key=lambda hole: hole.start)))
    for _, change in played(trace)[1]:
        document.apply(Edit(change.text, Position(*change.start), Position(*change.end)), "utf-16")
    assert b"".join(document.lines).decode() == trace.text


def test_a_file_of_two_lines_cannot_be_typed_again() -> None:
    with pytest.raises(InputError, match="some length"):
        make_trace("a.py", "x = 1\n", 100, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = ▮", "word start"),
        ("▮", "indentation"),
        ("def f():\n    ▮\n", "indentation"),
        ("x = val▮\n", "inside a name"),
        ("x_▮", "inside a name"),
        ("self.▮", "after a dot"),
        ("print('it is. a ▮", "string"),
        ("a = 'b' + c▮", "inside a name"),
        (r"a = 'b\'c ▮", "string"),
        ("# don't ▮", "word start"),
        ("f(va▮)", "mid-line"),
        ("f(va▮ \nnext", "inside a name"),
    ],
)
def test_cursor_classes(text: str, expected: CursorClass) -> None:
    offset = text.index("▮")
    assert cursor_class(text.replace("▮", ""), offset) == expected
    assert expected in CLASSES
