"""What an editor's traffic becomes in the statistics, through the server, the file and the command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lsp_server.__main__ import main
from lsp_server.statistics import KEPT_AFTER_S, bucket_of, latency_of
from lsp_server.statistics_store import FILE_NAME, statistics_file
from tests.lsp_server.test_report import read as read_page

URI = "file:///work/very_secret_name.py"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("MIDWORD_HOME", raising=False)


async def stats(client: Any, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Ends the server, then asks the command."""
    await client.leave()
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["stats", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


async def item(client: Any, line: int, character: int) -> dict[str, Any]:
    (found, *_) = (await client.ask(line, character, URI)[1])["items"]
    return found


async def accept(client: Any, taken: dict[str, Any]) -> None:
    await client.call(
        "workspace/executeCommand", {key: taken["command"][key] for key in ("command", "arguments")}
    )


async def test_shown_once_while_typed_along_and_accepted(
    client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    await client.initialize(statistics=True)
    client.open("x.he\nnothing\nself.comp", URI)
    client.insert(0, 4, "l", 2, URI)
    await item(client, 0, 5)
    client.insert(0, 5, "l", 3, URI)
    taken = await item(client, 0, 6)
    client.insert(0, 6, "o()", 4, URI)
    await accept(client, taken)
    await accept(client, taken)
    assert (await client.ask(1, 7, URI)[1])["items"] == []
    await item(client, 2, 9)
    found = await stats(client, capsys)
    assert (found["all"]["shown"], found["all"]["shown_chars"]) == (2, 4 + 16)
    assert (found["all"]["accepted"], found["all"]["accepted_chars"], found["all"]["accepted_share"]) == (
        1,
        3,
        0.5,
    )
    assert found["all"]["kept_30s"] is None
    assert list(found["language"]) == ["python"] and list(found["model"]) == ["own"]
    assert found["cursor"]["inside a name"]["shown"] == 2
    assert found["latency_ms"]["own"]["answers"] == 3 and found["latency_ms"]["own"]["p50"] >= 1


@pytest.mark.parametrize("tells", [True, False])
async def test_a_text_that_is_taken_part_by_part_is_one(
    client: Any, capsys: pytest.CaptureFixture[str], tells: bool
) -> None:
    """Over a line's end; an editor that tells what it does, and one that only asks again."""
    await client.initialize(statistics=True, maxLines=3)
    client.open("if x:", URI)
    places = [(0, 5), (1, 0), (1, 10)]
    parts = ["\n", "    return", " total"]
    for version, ((line, character), part) in enumerate(zip(places, parts, strict=True), start=2):
        taken = await item(client, line, character)
        assert taken["insertText"] == "".join(parts[version - 2 :])
        if tells:
            client.notify("textDocument/didShowCompletion", {"item": taken})
        client.insert(line, character, part, version, URI)
        if part == parts[-1]:
            await accept(client, taken)
        elif tells:
            params = {"item": taken, "acceptedLength": len(part)}
            client.notify("textDocument/didPartiallyAcceptCompletion", params)
    found = (await stats(client, capsys))["all"]
    assert (found["shown"], found["shown_chars"], found["accepted"]) == (1, 17, 1)
    assert (found["partly"], found["partly_chars"]) == ((1, 11) if tells else (0, 0))
    assert found["accepted_chars"] == 6, "what was taken before is not counted again"


async def test_kept_after_a_while(
    client: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KEPT_AFTER_S, "kept-30s", 0.1)
    monkeypatch.setitem(KEPT_AFTER_S, "kept-5min", 0.4)
    await client.initialize(statistics=True)
    client.open("x.hel", URI)
    taken = await item(client, 0, 5)
    await accept(client, taken)
    client.insert(0, 5, "lo()", 2, URI)
    client.insert(0, 0, "\n", 3, URI)
    await asyncio.sleep(0.25)
    gone = {"start": {"line": 1, "character": 5}, "end": {"line": 1, "character": 8}}
    client.change([{"range": gone, "text": ""}], 4, URI)
    await asyncio.sleep(0.3)
    found = await stats(client, capsys)
    assert (found["all"]["kept_30s"], found["all"]["kept_5min"]) == (1.0, 0.25)


async def test_what_was_accepted_in_a_closed_document_is_not_measured(
    client: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KEPT_AFTER_S, "kept-30s", 0.05)
    await client.initialize(statistics=True)
    client.open("x.hel", URI)
    taken = await item(client, 0, 5)
    client.insert(0, 5, "lo()", 2, URI)
    await accept(client, taken)
    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    client.open("x.hello()", URI)
    await asyncio.sleep(0.1)
    found = await stats(client, capsys)
    assert found["all"]["accepted"] == 1 and found["all"]["kept_30s"] is None


async def test_an_editor_that_tells_what_it_shows_and_takes_a_part(
    client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    await client.initialize(statistics=True, alternatives=2)
    client.open("two\ncafé = \nx.hel", URI)
    first, second = (await client.ask(0, 3, URI)[1])["items"]
    for shown in (first, second, second):
        client.notify("textDocument/didShowCompletion", {"item": shown})
    emoji = await item(client, 1, 7)
    client.notify("textDocument/didShowCompletion", {"item": emoji})
    for units in (3, 10, 7):
        params = {"item": emoji, "acceptedLength": units}
        client.notify("textDocument/didPartiallyAcceptCompletion", params)
    await item(client, 2, 5)
    found = await stats(client, capsys)
    assert found["all"]["shown"] == 3, "the last one was not on the screen"
    assert (found["all"]["partly"], found["all"]["partly_chars"], found["all"]["accepted"]) == (1, 9, 0)


@pytest.mark.parametrize("method", ["didShowCompletion", "didPartiallyAcceptCompletion", "didFocus"])
async def test_notifications_that_make_no_sense_are_passed_over(client: Any, method: str) -> None:
    await client.initialize(statistics=True)
    client.open("x.hel", URI)
    strange: list[Any] = [
        None, {}, {"item": None}, {"item": {"command": {"arguments": []}}}, {"textDocument": {"uri": "file:///no"}},
        {"item": {"command": {"arguments": ["999"]}}, "acceptedLength": 4}, {"textDocument": {"uri": 7}}, [],
        {"item": {"command": {"arguments": ["1"]}}, "acceptedLength": "many"}, {"textDocument": None},
    ]  # fmt: skip
    for params in strange:
        client.notify(f"textDocument/{method}", params)
    assert [i["insertText"] for i in (await client.ask(0, 5, URI)[1])["items"]] == ["lo()"]


async def test_focus_makes_the_document_resident(client: Any, engine_log: Any, wait_until: Any) -> None:
    await client.initialize(workAhead=True)
    client.open("x = 1\n", "file:///work/a.py")
    await engine_log.wait_for("warm", 1)
    client.open("y = 1\n", "file:///work/b.py")
    await engine_log.wait_for("warm", 2)
    for version in range(2, 40):
        client.insert(0, 0, f"line = {version}\n", version, "file:///work/a.py")
    client.notify("textDocument/didFocus", {"textDocument": {"uri": "file:///work/a.py"}})
    await engine_log.wait_for("warm", 3)
    status = await client.call("workspace/executeCommand", {"command": "midword.status", "arguments": []})
    assert status["uri"] == "file:///work/a.py"
    client.notify("textDocument/didFocus", {})
    client.open("KEY=1\n", "file:///work/.env")
    client.notify("textDocument/didFocus", {"textDocument": {"uri": "file:///work/.env"}})
    await asyncio.sleep(0.1)
    assert len(engine_log.lines("warm")) == 3


async def test_work_ahead_follows_the_alternative_on_the_screen(
    client: Any, engine_log: Any, wait_until: Any
) -> None:
    await client.initialize(workAhead=True, alternatives=3)
    client.open("either ", URI)
    first, second, _ = (await client.ask(0, 7, URI)[1])["items"]
    await wait_until(lambda: asked_after(engine_log, "either left") == 1, "what follows the first text")
    for shown in (first, second, second):
        client.notify("textDocument/didShowCompletion", {"item": shown})
    await wait_until(lambda: asked_after(engine_log, "either right") == 1, "what follows the second text")
    client.notify("textDocument/didShowCompletion", {"item": second})
    await client.call("workspace/executeCommand", {"command": "midword.status"})
    assert asked_after(engine_log, "either left") == asked_after(engine_log, "either right") == 1


async def test_what_was_shown_in_a_text_that_is_gone(client: Any) -> None:
    await client.initialize(workAhead=True, alternatives=2)
    client.open("\n\ntwo", URI)
    items = (await client.ask(2, 3, URI)[1])["items"]
    client.change([{"text": "x.hel"}], 2, URI)
    for shown in items:
        client.notify("textDocument/didShowCompletion", {"item": shown})
        client.notify("textDocument/didPartiallyAcceptCompletion", {"item": shown, "acceptedLength": 2})
        await accept(client, shown)
    assert [i["insertText"] for i in (await client.ask(0, 5, URI)[1])["items"]] == ["lo()"]


def asked_after(engine_log: Any, prefix: str) -> int:
    return sum(line.endswith(f"of {len(prefix)} bytes") for line in engine_log.lines("complete"))


async def test_switched_off_nothing_is_written(client: Any, tmp_path: Path) -> None:
    await client.initialize(statistics=False)
    client.open("x.hel", URI)
    await accept(client, await item(client, 0, 5))
    await client.leave()
    assert not (tmp_path / "state").exists()


async def test_the_stored_bytes_hold_no_code_and_no_names(
    client: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Any,
) -> None:
    """Everything in the folder is searched, while the server runs and afterwards."""
    monkeypatch.setattr("lsp_server.statistics.FLUSH_S", 0.05)
    await client.initialize(statistics=True)
    client.open("PASSWORD = x.hel\nself.comp", URI, language="A Language Named /home/u/f.py")
    taken = await item(client, 0, 16)
    client.insert(0, 16, "lo()", 2, URI)
    await accept(client, taken)
    client.notify("textDocument/didShowCompletion", {"item": await item(client, 1, 9)})

    def stored() -> dict[str, bytes]:
        found = dict[str, bytes]()
        for path in (tmp_path / "state").rglob("*"):
            with contextlib.suppress(IsADirectoryError, FileNotFoundError):  # a journal may be gone by now
                found[path.name] = path.read_bytes()
        return found

    def is_counted() -> bool:
        files = stored()
        return list(files) == [FILE_NAME] and b"accepted" in files[FILE_NAME]

    await wait_until(is_counted, "counts are in the one file")
    running = stored()
    found = await stats(client, capsys)
    assert list(found["language"]) == ["other"]
    for secret in (
        "PASSWORD",
        "hel",
        "lo()",
        "comp",
        "ute_total",
        "very_secret",
        ".py",
        "Language",
        "/work",
        "scripted",
    ):
        assert not any(secret.encode() in text for text in (*running.values(), *stored().values())), secret


async def test_a_file_that_cannot_be_written_is_said_once(client: Any, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "midword"
    folder.mkdir(parents=True)
    (folder / FILE_NAME).write_bytes(b"no database" * 100)
    await client.initialize(statistics=True)
    client.open("x.hel", URI)
    await item(client, 0, 5)
    await client.leave()
    (message,) = client.take("window/logMessage")
    assert "cannot be used" in message and "--delete" in message


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats"]) == 0 and "no statistics" in capsys.readouterr().out
    assert main(["stats", "--json", "--html", str(tmp_path / "empty.html")]) == 0
    assert json.loads(capsys.readouterr().out)["all"]["shown"] == 0
    fill()
    assert main(["stats", "--html", str(tmp_path / "out.html")]) == 0
    printed = capsys.readouterr().out
    assert "python" in printed and "75%" in printed
    page = read_page((tmp_path / "out.html").read_text())
    assert page.tags.count("svg") == 2 and "script" not in page.tags and "python" in page.text
    assert main(["stats", "--delete"]) == 0 and not statistics_file().exists()
    assert main(["stats", "--delete"]) == 0 and "no statistics" in capsys.readouterr().out


def fill() -> None:
    from collections import Counter
    from datetime import date

    from lsp_server.counts import Batch
    from lsp_server.statistics_store import add

    today = date.today().isoformat()
    counts = {"shown": 4, "shown-chars": 40, "accepted": 3, "accepted-chars": 30}
    labelled = {(today, "python", "own", "string", event): number for event, number in counts.items()}
    add(statistics_file(), Batch(Counter(labelled), Counter({(today, "own", 40): 2, (today, "own", 48): 2})))


def test_the_folder_follows_midword_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDWORD_HOME", str(tmp_path / "home"))
    fill()
    assert os.listdir(tmp_path / "home") == [FILE_NAME]  # noqa: PTH208


def test_buckets() -> None:
    for ms in (0.4, 1.0, 7.3, 55.0, 1234.0):
        assert latency_of(bucket_of(ms)) == pytest.approx(ms, rel=0.05)
    assert bucket_of(0.0) == bucket_of(0.1)
