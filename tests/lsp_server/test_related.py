"""Excerpts of other open documents: the likest ones, and none that may not be shown."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.related import as_comments
from engine.types import BELOW_BYTES, RELATED_BYTES, Excerpt
from lsp_server.documents import Document
from lsp_server.related import (
    NEAR_LINES,
    WINDOW_LINES,
    Choice,
    Related,
    Source,
    excerpt_below,
    lines_below,
)
from lsp_server.residence import Residence
from lsp_server.windows import Place, place_in

URI = "file:///work/a.py"
OTHER, THIRD = "file:///work/other.py", "file:///work/third.py"
NOISE = [f"unrelated_{k} = other_{k}\n" for k in range(200)]
LIKE = ["def total_price(order, customer):\n", "    return order.price * customer.discount\n"]
HERE = "def price_of(order, customer):\n    discount = customer.discount\n    return "


def source(lines: list[str], uri: str = OTHER, version: int = 1) -> Source:
    document = Document(uri, version)
    document.replace("".join(lines))
    return Source(uri.rpartition("/")[2], document)


def place(text: str, uri: str = URI) -> Place:
    lines = text.encode().splitlines(keepends=True) or [b""]
    return place_in(uri, lines, len(lines) - 1, len(lines[-1]))


def chosen(text: str, *sources: Source) -> Choice:
    return asyncio.run(Related().choose(place(text), "a.py", sources))


def test_what_shares_most_names_comes_first() -> None:
    less_like = [*LIKE[:1], *NOISE[:18]]
    choice = chosen(HERE, source(NOISE[:100] + LIKE * 10 + NOISE[100:]), source(less_like, THIRD))
    assert [excerpt.path for excerpt in choice.excerpts] == ["other.py"]
    assert b"".join(line.encode() for line in LIKE) in choice.excerpts[0].text
    assert choice.sources == {OTHER, THIRD}


def test_excerpts_fit_and_do_not_overlap() -> None:
    choice = chosen(HERE, source(LIKE * 500), source(LIKE * 30, THIRD))
    texts = [excerpt.text for excerpt in choice.excerpts]
    assert len(texts) > 1 and sum(map(len, texts)) <= RELATED_BYTES
    assert all(text.count(b"\n") <= WINDOW_LINES for text in texts)
    numbered = [f"order = customer.discount  # {k}\n" for k in range(90)]
    lines = [line for e in chosen(HERE, source(numbered)).excerpts for line in e.text.splitlines()]
    assert lines and len(lines) == len(set(lines))


@pytest.mark.parametrize("text", ["", "\n\n", "unique_name = "])
def test_where_nothing_is_alike_nothing_is_chosen(text: str) -> None:
    assert chosen(text, source(NOISE)).excerpts == ()


def test_a_choice_is_good_nearby_and_for_the_same_documents() -> None:
    related, sources = Related(), [source(LIKE)]
    here = place(HERE)
    assert not related.is_good_for(here, sources)
    related.put_in_force(here.uri, asyncio.run(related.choose(here, "a.py", sources)))
    assert related.is_good_for(here, sources)
    assert related.is_good_for(place(HERE + "1\n" * (NEAR_LINES - 2)), sources)
    assert not related.is_good_for(place(HERE + "1\n" * (NEAR_LINES + 2)), sources)
    assert not related.is_good_for(here, [*sources, source(LIKE, THIRD)])
    assert related.shown_with(here.uri, sources) and not related.shown_with(here.uri, [])
    related.forget(OTHER)
    assert related.shown_with(here.uri, sources) == ()


async def test_a_document_that_is_opened_again_is_read_again(client: Any, engine_log: Any) -> None:
    await client.initialize(workAhead=True)
    client.open("".join(NOISE), uri=OTHER)
    client.open(HERE.replace("return ", "x.hel\n"))
    await engine_log.wait_for("warm")
    client.open("".join(LIKE), uri=OTHER)
    client.notify("textDocument/didFocus", {"textDocument": {"uri": URI}})
    await engine_log.wait_for("warm with 1 excerpt")


def test_all_that_is_chosen_is_shown_to_the_model() -> None:
    excerpts = chosen(HERE, source(LIKE * 500), source(LIKE * 30, THIRD)).excerpts
    shown = as_comments(excerpts, "a.py")
    assert all(as_comments([excerpt], "a.py").rstrip() in shown for excerpt in excerpts)


def test_closing_a_document_of_which_nothing_is_shown_changes_nothing_yet() -> None:
    related, sources = Related(), [source(LIKE), source(NOISE, THIRD)]
    here = place(HERE)
    related.put_in_force(here.uri, asyncio.run(related.choose(here, "a.py", sources)))
    related.forget(THIRD)
    assert related.shown_with(here.uri, sources[:1])
    assert not related.is_good_for(here, sources[:1]), "it is chosen anew when there is time"


def test_an_edited_document_is_read_again() -> None:
    related = Related()
    asyncio.run(related.choose(place(HERE), "a.py", [source(NOISE)]))
    assert not asyncio.run(related.choose(place(HERE), "a.py", [source(LIKE, version=1)])).excerpts
    assert asyncio.run(related.choose(place(HERE), "a.py", [source(LIKE, version=2)])).excerpts


# -- what stands below ----------------------------------------------------------------------------

LINES = [f"line_{k} = call_{k}({k})\n".encode() for k in range(100)]


def cursor(number: int, lines: list[bytes] = LINES, column: int = 3) -> Place:
    return place_in(URI, lines, number, column)


def chosen_at(number: int, lines: list[bytes] = LINES) -> Related:
    related, here = Related(), cursor(number, lines)
    related.put_in_force(URI, asyncio.run(related.choose(here, "a.py", [])))
    return related


def test_the_next_whole_lines_are_shown_first() -> None:
    choice = asyncio.run(Related().choose(cursor(40), "a.py", [source(LIKE)]))
    (below,) = choice.excerpts
    assert below == Excerpt("a.py", below.text, below=True)
    assert b"".join(LINES[41:]).startswith(below.text) and below.text.endswith(b"\n")
    assert BELOW_BYTES - 64 < len(below.text) <= BELOW_BYTES
    both = asyncio.run(Related().choose(place(HERE + "\nabove = 1\nbelow = 1\n"), "a.py", [source(LIKE)]))
    assert [excerpt.below for excerpt in both.excerpts] == [False], "the cursor is at the end"


@pytest.mark.parametrize(
    ("suffix", "below"),
    [
        (b"", b""),
        (b"rest", b""),
        (b"rest\n", b""),
        (b"rest\nunended", b""),
        (b"\r\none\r\ntwo", b"one\r\n"),
        (b"rest\rone\r", b"one\r"),
        (b"\n\none\n", b"\none\n"),
        (b"\n" + b"x" * BELOW_BYTES + b"\nnext\n", b""),
    ],
)
def test_only_whole_lines_are_below(suffix: bytes, below: bytes) -> None:
    assert lines_below(suffix, BELOW_BYTES) == below


def test_blank_lines_are_not_shown() -> None:
    assert excerpt_below("a.py", b"rest\n\n  \n") == ()
    assert excerpt_below("a.py", b"rest\none\ntwo\n", 4) == (Excerpt("a.py", b"one\n", below=True),)
    assert excerpt_below("a.py", b"rest\none\n", 0) == ()


def test_a_choice_is_good_until_much_of_what_is_below_is_new() -> None:
    related = chosen_at(40)
    shown = related.shown_with(URI, [])[0].text.count(b"\n")
    assert related.is_good_for(cursor(40, column=8), [])
    assert related.is_good_for(cursor(40 + shown // 3), [])
    assert not related.is_good_for(cursor(40 + shown), []), "the text below has not been shown"
    for typed, is_good in ((b"{\n", True), (b"{\n}\n", True), (b"a\nb\nc\nd\n", False)):
        lines = [*LINES[:41], *typed.splitlines(keepends=True), *LINES[41:]]
        assert related.is_good_for(cursor(40, lines), []) == is_good
    assert related.is_good_for(cursor(41, [*LINES[:41], b"new\n", *LINES[41:]]), []), "a line was typed"
    assert not related.is_good_for(cursor(10), []), "it is too far above"
    assert Related().is_good_for(cursor(99), []) and not Related().is_good_for(cursor(0), [])


def test_the_same_lines_far_away_are_another_place() -> None:
    lines = [b"def first():\n", *[b"    pass\n"] * 200]
    assert chosen_at(0, lines).is_good_for(cursor(NEAR_LINES, lines), [])
    assert not chosen_at(0, lines).is_good_for(cursor(NEAR_LINES + 2, lines), [])


def test_where_only_the_lines_below_are_others_what_stands_before_them_is_resident() -> None:
    """Residence counts in the order of the prompt, in which the lines below come last before the document."""
    other, here, residence = Excerpt("b.py", b"x" * 500), cursor(40), Residence()
    residence.evaluated(here, [Excerpt("a.py", b"y" * 300, below=True), other])
    new = [Excerpt("a.py", b"z" * 300, below=True), other]
    assert residence.new_bytes(here, new) == 300 + len(here.above)
    order = [as_comments([each], "a.py").splitlines()[1] for each in new]
    shown = as_comments(new, "a.py")
    assert shown.index(order[1]) < shown.index(order[0])


# -- in the server --------------------------------------------------------------------------------


async def opened_beside(client: Any, **options: Any) -> None:
    await client.initialize(workAhead=True, **options)
    client.open("".join(LIKE), uri=OTHER)
    client.open(HERE.replace("return ", "x.hel\n"))


async def test_the_other_document_is_shown_once_it_is_resident(
    client: Any, engine_log: Any, wait_until: Any
) -> None:
    await opened_beside(client)
    await engine_log.wait_for("warm with 1 excerpt")
    await asyncio.sleep(0.05)
    assert await client.texts(2, 9) == ["lo()"]
    assert engine_log.lines("complete")[0].endswith("with 1 excerpt")
    await asyncio.sleep(0.3)
    count = len(engine_log.lines("warm"))
    assert await client.texts(2, 9) == ["lo()"]
    await asyncio.sleep(0.3)
    assert len(engine_log.lines("warm")) == count, "nothing is chosen anew at the same place"
    client.notify("textDocument/didClose", {"textDocument": {"uri": OTHER}})
    client.insert(2, 9, "!", 2)
    await client.texts(2, 10)
    assert "excerpt" not in engine_log.lines("complete")[-1], "the document is closed"


async def test_lines_below_are_shown_and_keys_on_the_line_change_nothing(
    client: Any, engine_log: Any
) -> None:
    await client.initialize(workAhead=True, relatedFiles=False)
    client.open("x.hel\n" + "".join(LIKE))
    assert await client.texts(0, 5) == ["lo()"]
    assert "excerpt" not in engine_log.lines("complete")[0], "nobody waits for it"
    await engine_log.wait_for("warm with 1 excerpt")
    await asyncio.sleep(0.3)
    asked = len(engine_log.lines("complete"))
    count = len(engine_log.lines("warm"))
    for column, typed in enumerate("lo() + y.hel", 5):
        client.insert(0, column, typed, column)
        await client.texts(0, column + 1)
    later = engine_log.lines("complete")[asked:]
    assert later and all(line.endswith("with 1 excerpt") for line in later)
    await asyncio.sleep(0.3)
    assert len(engine_log.lines("warm")) == count
    client.insert(1, 0, "".join(f"new_{k}\n" for k in range(3)), 99)
    client.insert(0, 17, "lo", 100)
    await client.texts(0, 19)
    await engine_log.wait_for("warm", count + 1)


@pytest.mark.parametrize("options", [{"relatedFiles": False}, {"exclude": ["other.py"]}])
async def test_what_must_not_be_shown_is_not(client: Any, engine_log: Any, options: Any) -> None:
    await opened_beside(client, **options)
    await engine_log.wait_for("warm")
    assert await client.texts(2, 9) == ["lo()"]
    await asyncio.sleep(0.3)
    assert not [line for line in engine_log.lines() if "excerpt" in line]


async def test_what_becomes_hidden_on_the_disk_is_shown_no_more(
    client: Any, engine_log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsp_server.eligibility.FRESH_S", 0.0)
    here, other = ((tmp_path / name).as_uri() for name in ("here.py", "other.py"))
    await client.initialize(workAhead=True)
    client.open("".join(LIKE), uri=other)
    client.open(HERE.replace("return ", "x.hel\n"), uri=here)
    await engine_log.wait_for("warm with 1 excerpt")
    (tmp_path / ".midwordignore").write_text("other.py\n")
    await asyncio.sleep(0.05)
    assert await client.texts(2, 9, uri=here) == ["lo()"]
    assert "excerpt" not in engine_log.lines("complete")[-1]


@pytest.mark.e2e
@pytest.mark.model
async def test_the_model_knows_the_names_and_the_first_key_does_not_pay_for_them(
    start_process: Any, wait_until: Any
) -> None:
    """What was shown ahead is resident: of the prompt only what is around the cursor is evaluated for it."""
    _, client = await start_process(engine=[sys.executable, "-P", "-m", "engine", "serve"])
    await client.initialize(workAhead=True, reportUsage=True, deadlineMs=20_000)
    client.open(
        "class Warehouse:\n    def __init__(self, name, bays):\n        self.bays = bays\n\n"
        "    def reserve_pallets(self, order, count):\n        return self.bays[:count]\n",
        uri=OTHER,
    )
    plan = 'def plan(order, bays):\n    warehouse = Warehouse("north", bays)\n    return warehouse.res'

    def ended() -> int:
        return sum(note["params"]["kind"] == "end" for note in client.notifications)

    def is_done(purpose: str) -> bool:
        notes = [note["params"] for note in client.notifications]
        started = sum(note["kind"] == "start" for note in notes)
        return started == ended() and purpose in {note.get("purpose") for note in notes}

    await wait_until(lambda: ended() == 1, "the other document is resident", timeout_s=60)
    client.open(plan)
    await wait_until(lambda: ended() == 2, "this one is, too", timeout_s=60)
    (text, *_) = await client.texts(2, 24)
    assert text.startswith("erve_pallets(order")
    await wait_until(lambda: is_done("others"), "the work ahead is done", timeout_s=60)
    notes = client.usage()
    (asked,) = [note["number"] for note in notes if note.get("purpose") == "asked"]
    (usage,) = [note["usage"] for note in notes if note["kind"] == "end" and note["number"] == asked]
    assert usage["prompt_tokens"] > 80 and usage["prompt_tokens_evaluated"] < 20
