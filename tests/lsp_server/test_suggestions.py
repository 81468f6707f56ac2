from __future__ import annotations

import dataclasses

import pytest

from lsp_server.documents import Document, Edit, Position
from lsp_server.statistics import Labels, Shown
from lsp_server.suggestions import SHOWN_ITEMS, Suggestions
from lsp_server.windows import Place

SHOWN = Shown("file:///a", 0, 0, b"x", 1, 0, Labels("python", "m", "string"))


def test_an_acceptance_counts_once() -> None:
    kept = Suggestions()
    item_id = kept.show(SHOWN)
    assert kept.find(item_id) is SHOWN
    assert kept.accept(item_id) is SHOWN and kept.accepted == 1
    assert not kept.accept(item_id) and not kept.accept("never shown") and kept.accepted == 1


def test_old_items_are_forgotten() -> None:
    kept = Suggestions()
    ids = [kept.show(SHOWN) for _ in range(SHOWN_ITEMS + 1)]
    assert len(set(ids)) == len(ids) and kept.find(ids[0]) is None and kept.find(ids[1]) is SHOWN


def place(before: str, after: str = "\nend") -> Place:
    document = Document("file:///a", 1, "python")
    document.apply(Edit(before + after), "utf-8")
    *above, line = before.split("\n")
    return document.place(Position(len(above), len(line.encode())), "utf-8")


def test_the_rest_of_a_text_is_the_same_suggestion() -> None:
    kept = Suggestions()
    first, second = kept.identify(place("a\nx = "), [b"fine\n  gr\xc3\xbcn", b"fire"])
    assert first.suggestion != second.suggestion and first.start == second.start == 0
    assert kept.identify(place("a\nx = fi"), [b"re", b"ne\n  gr\xc3\xbcn"]) == [
        dataclasses.replace(part, start=2) for part in (second, first)
    ]
    (rest,) = kept.identify(place("a\nx = fine\n  grü"), [b"n"])
    assert rest == dataclasses.replace(first, start=10)


def test_a_rest_that_has_grown_or_shrunk_is_the_same_suggestion() -> None:
    kept = Suggestions()
    (first,) = kept.identify(place("x = "), [b"order.total"])
    assert kept.identify(place("x = "), [b"order.total()"]) == [first]
    (longer,) = kept.identify(place("x = order."), [b"total() + 1"])
    (shorter,) = kept.identify(place("x = order.to"), [b"tal"])
    assert longer == dataclasses.replace(first, start=6)
    assert shorter == dataclasses.replace(first, start=8)


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("x = order.", "\nend", b"name"),
        ("x = older.", "\nend", b"total"),
        ("y = order.", "\nend", b"total"),
        ("x = order.", ")\nend", b"total"),
        ("x = order.total", "\nend", b" + 1"),
    ],
)
def test_another_text_or_place_is_another_suggestion(before: str, after: str, text: bytes) -> None:
    kept = Suggestions()
    (first,) = kept.identify(place("x = "), [b"order.total"])
    (other,) = kept.identify(place(before, after), [text])
    assert other.suggestion != first.suggestion and other.start == 0
