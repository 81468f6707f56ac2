from __future__ import annotations

from lsp_server.suggestions import Suggestions


def test_an_acceptance_counts_once() -> None:
    kept = Suggestions()
    item_id = kept.show()
    assert kept.accept(item_id) and kept.accepted == 1
    assert not kept.accept(item_id) and not kept.accept("never shown") and kept.accepted == 1
