"""Ordinary completion items: places, what editors filter by, and peace with ghost text."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lsp_server.completion_items import word_before

CANCELLED = -32800
URI = "file:///work/a.py"


def ask(client: Any, line: int, character: int) -> asyncio.Future[Any]:
    place = {"textDocument": {"uri": URI}, "position": {"line": line, "character": character}}
    future: asyncio.Future[Any] = client.request(
        "textDocument/completion", {**place, "context": {"triggerKind": 1}}
    )[1]
    return future


async def items(client: Any, line: int, character: int) -> list[dict[str, Any]]:
    answer = await asyncio.wait_for(ask(client, line, character), 15)
    assert answer["isIncomplete"] is True
    found: list[dict[str, Any]] = answer["items"]
    return found


def applied(text: str, item: dict[str, Any], encoding: str) -> str:
    """The text after the edit, by LSP's rules, on a document of one line end style."""
    unit = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding]
    codec = encoding if unit == 1 else f"{encoding}-le"
    lines = text.split("\n")
    start, end = item["textEdit"]["range"]["start"], item["textEdit"]["range"]["end"]
    assert start["line"] == end["line"]
    raw = lines[start["line"]].encode(codec)
    before, after = (
        raw[: start["character"] * unit].decode(codec),
        raw[end["character"] * unit :].decode(codec),
    )
    lines[start["line"]] = before + item["textEdit"]["newText"] + after
    return "\n".join(lines)


async def test_without_the_option_there_is_no_such_feature(client: Any) -> None:
    await client.initialize()
    assert "completionProvider" not in client.capabilities
    client.open("x.hel")
    future = ask(client, 0, 5)
    with pytest.raises(Exception):  # noqa: B017  (method not found)
        await future


async def test_an_item_repeats_the_word_before_the_cursor(client: Any) -> None:
    await client.initialize(completionItems=True)
    assert "." in client.capabilities["completionProvider"]["triggerCharacters"]
    client.open("x.hel")
    (item,) = await items(client, 0, 5)
    assert item["label"] == item["filterText"] == item["textEdit"]["newText"] == "hello()"
    assert item["textEdit"]["range"] == {
        "start": {"line": 0, "character": 2},
        "end": {"line": 0, "character": 5},
    }
    assert item["insertTextMode"] == 1 and item["insertTextFormat"] == 1 and "documentation" not in item
    assert item["command"]["command"] == "midword.accepted" and item["command"]["title"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
async def test_the_buffer_afterwards_is_prefix_and_text_and_suffix(client: Any, encoding: str) -> None:
    await client.initialize([encoding], completionItems=True)
    unit = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding]
    codec = encoding if unit == 1 else f"{encoding}-le"
    for line, shown in [("😀 = x.hel", "lo()"), ("naïve𝒳_é = call(", "a, b)"), ("é𝒳two", " one")]:
        client.open(f"first\n{line} # ü")
        column = len(line.encode(codec)) // unit
        (item,) = await items(client, 1, column)
        assert applied(f"first\n{line} # ü", item, encoding) == f"first\n{line}{shown} # ü"


async def test_alternatives_keep_their_order_and_pass_an_editors_filter(client: Any) -> None:
    await client.initialize(completionItems=True, alternatives=3)
    client.open("two")
    found = await items(client, 0, 3)
    assert [item["label"] for item in found] == ["two one", "two other"]
    assert [item["sortText"] for item in found] == sorted(item["sortText"] for item in found)
    for item in found:
        start = item["textEdit"]["range"]["start"]["character"]
        assert item["filterText"].startswith("two"[start:])


async def test_several_lines_have_a_label_of_one(client: Any) -> None:
    await client.initialize(completionItems=True, maxLines=3)
    client.open("if x:\nreturn total")
    (item,) = await items(client, 0, 5)
    assert item["label"] == "⏎ return total" and item["filterText"] == ""
    assert item["documentation"] == item["textEdit"]["newText"] == "\n    return total"
    (item,) = await items(client, 1, 12)
    assert item["label"] == "total …" and item["filterText"] == "total"
    assert item["textEdit"]["newText"] == "total\n    more"


@pytest.mark.parametrize("step_ms", [20])
async def test_an_editor_that_asks_for_both_is_answered_twice_by_one_work(
    client: Any, engine_log: Any
) -> None:
    await client.initialize(completionItems=True)
    client.open("count(")
    inline = client.ask(0, 6)[1]
    listed = ask(client, 0, 6)
    assert await client.outcome(inline) == ["one, two, three)"]
    assert [item["label"] for item in (await listed)["items"]] == ["one, two, three)"]
    assert len(engine_log.lines("complete")) == 1


@pytest.mark.parametrize("step_ms", [20])
async def test_a_withdrawn_request_leaves_the_other_its_work(client: Any, engine_log: Any) -> None:
    await client.initialize(completionItems=True)
    client.open("count(")
    number, inline = client.ask(0, 6)
    listed = ask(client, 0, 6)
    await engine_log.wait_for("step")
    client.notify("$/cancelRequest", {"id": number})
    assert await client.outcome(inline) == CANCELLED
    assert len((await listed)["items"]) == 1
    assert len(engine_log.lines("complete")) == 1 and not engine_log.lines("cancelled")


@pytest.mark.parametrize("step_ms", [20])
async def test_a_newer_request_supersedes_the_older_of_its_kind(client: Any) -> None:
    await client.initialize(completionItems=True)
    client.open("SLOW\nx.hel")
    first = ask(client, 0, 4)
    second = ask(client, 1, 5)
    assert await client.outcome(first) == CANCELLED
    assert [item["label"] for item in (await second)["items"]] == ["hello()"]


async def test_a_file_that_is_kept_out_has_no_items(client: Any, engine_log: Any) -> None:
    await client.initialize(completionItems=True, exclude=["*.py"])
    client.open("x.hel")
    assert await items(client, 0, 5) == []
    assert not engine_log.lines("complete")


def configure(client: Any, **options: Any) -> None:
    settings = {"workAhead": False, "statistics": False, **options}
    client.notify("workspace/didChangeConfiguration", {"settings": {"midword": settings}})


@pytest.mark.parametrize("at_start", [True, False])
async def test_the_option_takes_effect_at_once_where_features_can_be_registered(
    client: Any, wait_until: Any, at_start: bool
) -> None:
    await client.initialize(hears_later=True, completionItems=at_start)
    assert "completionProvider" not in client.capabilities, "announced twice, it would be asked twice"
    if not at_start:
        configure(client, completionItems=True)
    await wait_until(lambda: client.requests, "the registration")
    (registration,) = client.requests.pop()["params"]["registrations"]
    assert registration["method"] == "textDocument/completion"
    assert "." in registration["registerOptions"]["triggerCharacters"]
    client.open("x.hel")
    assert [item["label"] for item in await items(client, 0, 5)] == ["hello()"]
    configure(client, completionItems=True, alternatives=2)
    configure(client)
    await wait_until(lambda: client.requests, "the end of the registration")
    (gone,) = client.requests.pop()["params"]["unregisterations"]
    assert (gone["method"], gone["id"]) == ("textDocument/completion", registration["id"])
    assert await items(client, 0, 5) == [], "what was asked before the editor knew"
    configure(client, completionItems=True)
    await wait_until(lambda: client.requests, "the registration again")
    (again,) = client.requests.pop()["params"]["registrations"]
    assert again == registration
    assert len(await items(client, 0, 5)) == 1


async def test_an_editor_that_cannot_be_told_of_it_says_so(client: Any, wait_until: Any) -> None:
    await client.initialize()
    for alternatives in (1, 2):
        configure(client, completionItems=True, alternatives=alternatives)
    await client.call("workspace/executeCommand", {"command": "midword.status", "arguments": []})
    (message,) = client.take("window/logMessage")
    assert "completionItems" in message and "started again" in message


async def test_switched_off_an_editor_that_goes_on_asking_gets_nothing(client: Any, engine_log: Any) -> None:
    await client.initialize(completionItems=True)
    client.open("x.hel")
    configure(client)
    assert await items(client, 0, 5) == [] and not engine_log.lines("complete")
    configure(client, completionItems=True)
    assert len(await items(client, 0, 5)) == 1


@pytest.mark.parametrize(
    ("line", "language", "word"),
    [
        ("x.hel", "python", "hel"),
        ("x.", "python", ""),
        ("", "python", ""),
        ("naïve_é1", "python", "naïve_é1"),
        ("my-fun", "python", "fun"),
        ("(my-fun", "emacs-lisp", "my-fun"),
        ("  font-si", "css", "font-si"),
    ],
)
def test_words(line: str, language: str, word: str) -> None:
    assert word_before(line.encode(), language) == word
