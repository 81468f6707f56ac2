from __future__ import annotations

from lsp_server.statistics import Labels, Shown
from lsp_server.suggestions import SHOWN_ITEMS, Suggestions

SHOWN = Shown("file:///a", 0, 0, b"x", 1, Labels("python", "m", "string"))


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
