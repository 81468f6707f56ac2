"""What an editor is answered: texts, places, encodings, and which texts need no engine."""

from __future__ import annotations

from typing import Any

import pytest

INVALID_PARAMS = -32602
OTHER_URI = "file:///work/b.py"


async def test_a_completion_in_the_middle_of_an_identifier(client: Any) -> None:
    await client.initialize()
    assert client.capabilities["inlineCompletionProvider"] == {}
    assert client.capabilities["textDocumentSync"]["change"] == 2
    assert client.capabilities["executeCommandProvider"]["commands"] == [
        "midword.accepted",
        "midword.explain",
        "midword.restart",
        "midword.status",
    ]
    client.open("self.comp")
    (item,) = (await client.ask(0, 9)[1])["items"]
    assert item["insertText"] == "ute_total(items)"
    assert item["range"] == {"start": {"line": 0, "character": 9}, "end": {"line": 0, "character": 9}}
    assert item["command"]["title"]
    assert (
        await client.call(
            "workspace/executeCommand",
            {"command": item["command"]["command"], "arguments": item["command"]["arguments"]},
        )
        is None
    )


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["utf-8", "utf-16"], "utf-8"),
        (["utf-16"], "utf-16"),
        (["utf-32", "utf-8"], "utf-32"),
        (["utf-7"], "utf-16"),
        (None, "utf-16"),
    ],
)
async def test_every_position_encoding(client: Any, offered: list[str] | None, chosen: str) -> None:
    await client.initialize(offered)
    assert client.capabilities["positionEncoding"] == chosen
    unit = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[chosen]

    def column(text: str) -> int:
        return len(text.encode(chosen + ("" if unit == 1 else "-le"))) // unit

    line = "😀é\f\u2028 x.h"
    client.open(f"a\rb\r\n{line}")
    client.insert(2, column(line), "el😀", 2)
    there = column(line + "el")
    client.change(
        [
            {
                "range": {
                    "start": {"line": 2, "character": there},
                    "end": {"line": 2, "character": column(line + "el😀")},
                },
                "text": "",
            }
        ],
        3,
    )
    (item,) = (await client.ask(2, there)[1])["items"]
    assert item["insertText"] == "lo()"
    assert item["range"]["start"] == {"line": 2, "character": there}


async def test_text_outside_ascii_comes_back_whole(client: Any) -> None:
    await client.initialize()
    client.open("café = ")
    assert await client.texts(0, 7) == ["'😀 crème'"]


async def test_typing_along_is_answered_without_the_engine(client: Any, engine_log: Any) -> None:
    await client.initialize()
    client.open("self.comp\n")
    text = "ute_total(items)"
    assert await client.texts(0, 9) == [text]
    for typed in range(1, len(text)):
        client.insert(0, 8 + typed, text[typed - 1], 1 + typed)
        assert await client.texts(0, 9 + typed) == [text[typed:]]
    assert len(engine_log.lines("complete")) == 1
    client.insert(0, 9, "X", 99)
    assert await client.texts(0, 10) == ["_done"]
    assert len(engine_log.lines("complete")) == 2


async def test_alternatives_in_order_and_narrowed_by_typing(client: Any, engine_log: Any) -> None:
    await client.initialize(alternatives=2)
    client.open("two")
    assert await client.texts(0, 3) == [" one", " other"]
    client.insert(0, 3, " o", 2)
    assert await client.texts(0, 5) == ["ne", "ther"]
    client.insert(0, 5, "t", 3)
    assert await client.texts(0, 6) == ["her"]
    assert len(engine_log.lines("complete")) == 1


async def test_a_repeated_rest_of_the_line_and_blank_texts_are_not_shown(client: Any) -> None:
    await client.initialize()
    client.open("call()\nblank\nnothing")
    assert await client.texts(0, 5) == ["a, b"]
    assert await client.texts(1, 5) == []
    assert await client.texts(2, 7) == []


async def test_a_column_past_the_end_is_the_end_of_the_line(client: Any) -> None:
    await client.initialize()
    client.open("x.hel\r\nnext")
    (item,) = (await client.ask(0, 4000)[1])["items"]
    assert item["insertText"] == "lo()"
    assert item["range"]["start"] == {"line": 0, "character": 5}


async def test_a_place_that_does_not_exist_is_an_error(client: Any) -> None:
    await client.initialize()
    client.open("x")
    assert await client.outcome(client.ask(1, 0)[1]) == INVALID_PARAMS
    assert await client.outcome(client.ask(0, 0, OTHER_URI)[1]) == INVALID_PARAMS
    assert await client.outcome(client.ask(-1, 0)[1]) == INVALID_PARAMS


async def test_a_lone_surrogate_switches_completion_off_for_that_document_only(client: Any) -> None:
    await client.initialize()
    client.open("x.hel")
    client.open("x.hel", OTHER_URI)
    client.insert(0, 0, "\ud800", 2)
    client.insert(0, 0, "a", 3)
    assert await client.texts(0, 5) == []
    assert await client.texts(0, 5, OTHER_URI) == ["lo()"]
    (message,) = client.take("window/showMessage")
    assert "U+D800" in message
    client.change([{"text": "now x.hel"}], 4)
    assert await client.texts(0, 9) == ["lo()"]
    client.open("\udfff", version=1)
    assert await client.texts(0, 0) == []
    assert len(client.take("window/showMessage")) == 1
    client.open("x.hel", version=1)
    assert await client.texts(0, 5) == ["lo()"]


async def test_closing_and_opening_again(client: Any, engine_log: Any) -> None:
    await client.initialize()
    client.open("x.hel")
    assert await client.texts(0, 5) == ["lo()"]
    client.notify("textDocument/didClose", {"textDocument": {"uri": "file:///work/a.py"}})
    assert await client.outcome(client.ask(0, 5)[1]) == INVALID_PARAMS
    client.insert(0, 0, "x", 2)
    client.open("self.comp", version=1)
    assert await client.texts(0, 9) == ["ute_total(items)"]
    (message,) = client.take("window/logMessage")
    assert "not open" in message


async def test_switched_off_means_no_engine(client: Any, engine_log: Any) -> None:
    await client.initialize(enabled=False)
    client.open("x.hel")
    assert await client.texts(0, 5) == []
    assert engine_log.pids == []
    client.notify("workspace/didChangeConfiguration", {"settings": {"midword": {"enabled": True}}})
    assert await client.texts(0, 5) == ["lo()"]
    client.notify("workspace/didChangeConfiguration", {"settings": {"midword": {"enabled": False}}})
    assert await client.texts(0, 5) == []


async def test_invalid_options_are_reported_once(client: Any) -> None:
    await client.initialize(maxTokens="many", colour="red")
    for _ in range(2):
        client.notify("workspace/didChangeConfiguration", {"settings": {"midword": {"maxTokens": "many"}}})
    client.notify("workspace/didChangeConfiguration", {"settings": None})
    client.open("x.hel")
    assert await client.texts(0, 5) == ["lo()"]
    messages = client.take("window/logMessage")
    assert len(messages) == 2
    assert "'maxTokens'" in messages[0] and "'colour'" in messages[1]


async def test_another_model_means_another_engine(client: Any, engine_log: Any) -> None:
    await client.initialize()
    client.open("x.hel")
    assert await client.texts(0, 5) == ["lo()"]
    client.notify(
        "workspace/didChangeConfiguration", {"settings": {"midword": {"model": "other", "workAhead": False}}}
    )
    assert await client.texts(0, 5) == ["lo()"]
    assert len(engine_log.pids) == 2 and len(engine_log.lines("complete")) == 2
    client.notify(
        "workspace/didChangeConfiguration", {"settings": {"midword": {"model": "other", "workAhead": False}}}
    )
    assert await client.texts(0, 5) == ["lo()"]
    assert len(engine_log.pids) == 2 and len(engine_log.lines("complete")) == 2


async def test_engine_errors_and_deaths_are_empty_answers_and_said_once(client: Any) -> None:
    await client.initialize()
    client.open("ERROR\nCRASH\nx.hel")
    for _ in range(2):
        assert await client.texts(0, 5) == []
    assert client.take("window/logMessage") == ["midword: the model refused"]
    for _ in range(2):
        assert await client.texts(1, 5) == []
    (message,) = client.take("window/showMessage")
    assert "scripted crash" in message
    assert await client.texts(2, 5) == ["lo()"]


async def test_an_engine_that_is_late_is_given_up(
    client: Any, engine_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsp_server.pipeline.LIMIT_MARGIN_MS", 50)
    await client.initialize(deadlineMs=50)
    client.open("SLOW")
    assert await client.texts(0, 4) == []
    assert client.take("window/logMessage") == [
        "midword: no completion within 100 ms; a smaller model answers sooner"
    ]


async def test_a_megabyte_is_edited_and_completed(client: Any) -> None:
    await client.initialize()
    client.open("value = 'ü'\n" * 85_000)
    for version in range(2, 12):
        client.insert(40_000, 0, "\n", version)
    client.insert(40_005, 0, "x.hel", 12)
    assert await client.texts(40_005, 5) == ["lo()"]


async def test_a_lone_surrogate_in_a_name_disturbs_nothing(client: Any) -> None:
    await client.initialize(workAhead=True)
    for uri in ("file:///work/\ud800.py", "untitled:\ud800"):
        client.open("x.hel", uri=uri)
        assert await client.texts(0, 5, uri=uri) in (["lo()"], [])
    client.open("x.hel")
    assert await client.texts(0, 5) == ["lo()"]
