"""The breadth of the protocol, by a client that this project did not write, against the real process.

The engine is the scripted one, which logs how many bytes it was shown: an edit that landed a byte off shows.
"""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from engine.types import SHOWN_PREFIX_BYTES
from tests.e2e.node import Outcome, Scenario

pytestmark = pytest.mark.e2e
CANCELLED = -32800
INVALID_PARAMS = -32602
URI = "file:///work/a.py"
PIECES = ["a", "é", "😀", "\n", "\r\n", "\r", "\f", "\u2028", "\x85", "\t", "e\u0301", "漢", "x = 1", "    "]


def units(text: str, encoding: str) -> int:
    """Length in the encoding's code units."""
    return len(text.encode({"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding])) // {
        "utf-8": 1, "utf-16": 2, "utf-32": 4,
    }[encoding]  # fmt: skip


def place(text: str, offset: int, encoding: str) -> dict[str, int]:
    """The LSP position of a character offset; not between `\\r` and `\\n`."""
    lines = re.split(r"\r\n|\r|\n", text[:offset])
    return {"line": len(lines) - 1, "character": units(lines[-1], encoding)}


def some_offset(text: str, chance: random.Random) -> int:
    offset = chance.randint(0, len(text))
    return offset - 1 if text[max(0, offset - 1) : offset + 1] == "\r\n" else offset


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_random_edits_land_where_the_client_meant(node: str, tmp_path: Path, encoding: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    text = "".join(chance.choices(PIECES, k=200))
    scenario = Scenario(encodings=[encoding])
    scenario.add("open", uri=URI, text=text)
    expected = []
    for number in range(40):
        changes = []
        for new in ("".join(chance.choices(PIECES, k=3)), "x.hel"):
            start, end = sorted(some_offset(text, chance) for _ in range(2))
            end = min(end, start + 5)
            end -= text[max(0, end - 1) : end + 1] == "\r\n"
            end = max(start, end)
            before, after = place(text, start, encoding), place(text, end, encoding)
            changes.append({"range": {"start": before, "end": after}, "text": new})
            text = text[:start] + new + text[end:]
        scenario.add("change", uri=URI, changes=changes)
        cursor = start + len("x.hel")
        scenario.add("ask", **{"as": str(number)}, uri=URI, **place(text, cursor, encoding))
        scenario.add("wait", **{"for": str(number)})
        expected.append((place(text, cursor, encoding), len(text[:cursor].encode())))
    outcome = scenario.run(node, tmp_path)
    assert outcome.encoding == encoding
    assert outcome.messages == []
    for number, (cursor_place, _) in enumerate(expected):
        assert outcome.answers[str(number)] == ["lo()"], number
        assert outcome.places[str(number)] == (cursor_place["line"], cursor_place["character"])
    assert outcome.prefix_bytes() == [prefix_bytes for _, prefix_bytes in expected]


def typed(scenario: Scenario, text: str, uri: str = URI, line: int = 0, *, cancels: bool) -> list[str]:
    """Add a change and a request for each letter. Returns the names of the requests."""
    names: list[str] = []
    for column, letter in enumerate(text):
        if cancels and names:
            scenario.add("cancel", ask=names[-1])
        cursor = {"line": line, "character": column}
        scenario.add("change", uri=uri, changes=[{"range": {"start": cursor, "end": cursor}, "text": letter}])
        names.append(f"{uri} {column}")
        scenario.add("ask", **{"as": names[-1]}, uri=uri, line=line, character=column + 1)
    return names


def most_at_once(outcome: Outcome) -> int:
    """How many things the engine did at the same time, at most."""
    running = most = 0
    for line in outcome.engine_log:
        running += line.startswith("complete") - line.startswith(("result", "cancelled"))
        most = max(most, running)
    return most


@pytest.mark.parametrize("cancels", [True, False])
def test_a_storm_of_requests_is_answered_once_each_and_done_once(
    node: str, tmp_path: Path, cancels: bool
) -> None:
    """VS Code cancels what it asked before, Neovim 0.12 and others never do: the same for the engine."""
    scenario = Scenario(step_ms=1000)  # far longer than a busy machine holds up the next key
    scenario.add("open", uri=URI, text="")
    names = typed(scenario, "value = " * 20 + "x.hel", cancels=cancels)
    scenario.add("settle")
    outcome = scenario.run(node, tmp_path)
    *earlier, last = (outcome.answers[name] for name in names)
    assert last == ["lo()"]
    assert all(answer in (CANCELLED, []) for answer in earlier)
    assert most_at_once(outcome) == 1
    assert len(outcome.prefix_bytes()) < len(names) / 2
    assert len(outcome.answers) == len(names)


def test_positions_of_an_older_text(node: str, tmp_path: Path) -> None:
    """A client may ask with a position that its own later change has made wrong."""
    scenario = Scenario()
    scenario.add("open", uri=URI, text="x.hel\nsecond\n")
    start = {"line": 0, "character": 0}
    end = {"line": 2, "character": 0}
    scenario.add("change", uri=URI, changes=[{"range": {"start": start, "end": end}, "text": "x.hel"}])
    for name, line, character in (("gone", 1, 3), ("past the end", 0, 400), ("there", 0, 5)):
        scenario.add("ask", **{"as": name}, uri=URI, line=line, character=character)
        scenario.add("wait", **{"for": name})
    outcome = scenario.run(node, tmp_path)
    assert outcome.answers == {"gone": INVALID_PARAMS, "past the end": ["lo()"], "there": ["lo()"]}
    assert outcome.places == {"past the end": (0, 5), "there": (0, 5)}
    assert len(outcome.prefix_bytes()) == 1


def test_a_file_of_a_megabyte(node: str, tmp_path: Path) -> None:
    lines = [f"value_{row} = compute('😀', 12)\r\n" for row in range(31_000)]
    assert len("".join(lines).encode()) > 2**20
    scenario = Scenario()
    scenario.add("open", uri=URI, text="".join(lines))
    names = []
    for row in range(100, len(lines), len(lines) // 20):
        start, end = {"line": row, "character": 0}, {"line": row, "character": len(lines[row])}
        scenario.add("change", uri=URI, changes=[{"range": {"start": start, "end": end}, "text": "x.hel"}])
        names.append(str(row))
        scenario.add("ask", **{"as": names[-1]}, uri=URI, line=row, character=5)
        scenario.add("wait", **{"for": names[-1]})
    outcome = scenario.run(node, tmp_path)
    assert [outcome.answers[name] for name in names] == [["lo()"]] * len(names)
    shown = outcome.prefix_bytes()
    assert len(shown) == len(names) and max(shown) <= 2 * SHOWN_PREFIX_BYTES


def test_rename_close_and_reopen(node: str, tmp_path: Path) -> None:
    """A renamed file is a closed and an opened one; nothing of a closed text is left."""
    other = "file:///work/b.py"
    scenario = Scenario()
    scenario.add("open", uri=URI, text="first\nx.hel")
    ask = {"line": 1, "character": 5}
    scenario.add("ask", **{"as": "before"}, uri=URI, **ask)
    scenario.add("wait", **{"for": "before"})
    scenario.add("close", uri=URI)
    scenario.add("open", uri=other, text="first\nx.hel")
    scenario.add("ask", **{"as": "renamed"}, uri=other, **ask)
    scenario.add("ask", **{"as": "old name"}, uri=URI, **ask)
    scenario.add("settle")
    scenario.add("open", uri=URI, text="another first\nx.hel")
    scenario.add("ask", **{"as": "reopened"}, uri=URI, **ask)
    scenario.add("settle")
    outcome = scenario.run(node, tmp_path)
    done = ["lo()"]
    assert outcome.answers == {"before": done, "renamed": done, "old name": INVALID_PARAMS, "reopened": done}
    assert outcome.prefix_bytes() == [11, 11, 19]


def test_two_folders_in_one_editor(node: str, tmp_path: Path) -> None:
    """The same name in both: no text, answer or cancellation goes from one to the other."""
    folders = ["file:///one", "file:///two"]
    scenario = Scenario(folders=folders, step_ms=5)
    for folder in folders:
        scenario.add("open", uri=f"{folder}/a.py", text="")
    texts = {"file:///one/a.py": "a = x.hel", "file:///two/a.py": "b = self.c"}
    last = [typed(scenario, text, uri, cancels=False)[-1] for uri, text in texts.items()]
    scenario.add("settle")
    outcome = scenario.run(node, tmp_path)
    assert [outcome.answers[name] for name in last] == [["lo()"], ["ompute_total(items)"]]


def test_two_editors_at_a_time(node: str, tmp_path: Path) -> None:
    processes = {}
    for name, text in (("one", "x.hel"), ("two", "self.c")):
        (tmp_path / name).mkdir()
        scenario = Scenario(folders=[f"file:///{name}"], step_ms=20)
        scenario.add("open", uri=URI, text="")
        typed(scenario, text, cancels=True)
        scenario.add("settle")
        processes[name] = scenario.start(node, tmp_path / name), f"{URI} {len(text) - 1}"
    outcomes = {
        name: (Outcome.of(process, tmp_path / name), last) for name, (process, last) in processes.items()
    }
    assert [outcome.answers[last] for outcome, last in outcomes.values()] == [
        ["lo()"],
        ["ompute_total(items)"],
    ]


def test_shutdown_with_work_in_flight(node: str, tmp_path: Path) -> None:
    scenario = Scenario(step_ms=50)
    for uri in (URI, "file:///work/b.py"):
        scenario.add("open", uri=uri, text="SLOW")
        scenario.add("ask", **{"as": uri}, uri=uri, line=0, character=4)
    outcome = scenario.run(node, tmp_path)
    assert set(outcome.answers.values()) == {CANCELLED} and len(outcome.answers) == 2
    assert not [line for line in outcome.engine_log if line.startswith("result")]
    for pid in (int(line.split()[1]) for line in outcome.engine_log if line.startswith("pid")):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
