"""What the bench counts, on a model of tables: one context a typed byte, none a deleted one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.keystrokes import AGAIN_BYTES, costs, keystrokes, row_of
from engine import covers
from lsp_server.replay.bench import default_files, traces_of
from lsp_server.replay.traces import make_trace
from tests.engine.models_of_tables import model_of


def test_the_keystrokes_lead_to_the_text_and_back() -> None:
    whole = Path(__file__).read_text()
    trace = make_trace("here", whole, keys=60, seed=1)
    for hole in trace.holes:
        before = trace.text[: hole.start].encode()
        strokes = list(keystrokes(before, hole, trace.text))
        assert strokes[-1][1] == trace.text[: hole.end].encode()
        for (_, shorter), (kind, longer) in zip([("", before), *strokes], strokes, strict=False):
            assert len(longer) - len(shorter) == (-1 if kind == "backspace" else 1)
        again = min(AGAIN_BYTES, len(strokes[-1][1]) - len(before))
        assert [kind for kind, _ in strokes[-again:]] == ["typed again"] * again


@pytest.mark.parametrize("bound", [0.0, covers.DROPPED_BOUND])
def test_a_typed_byte_scores_at_most_one_context_and_a_deleted_one_none(
    bound: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But where what follows decides how the text is cut: there each way is a context."""
    monkeypatch.setattr(covers, "DROPPED_BOUND", bound)
    found = costs(model_of(order="none"), traces_of(default_files()[:1], keys=120, seed=2))
    typed = [c for c in found if c.kind == "typed"]
    assert len(typed) > 100 and sum(c.kind == "backspace" for c in found) > 30
    assert all(c.evaluations <= 1 for c in typed)
    if bound == 0:
        assert all(c.contexts == 0 for c in found if c.kind != "typed")
        assert sum(c.contexts > 1 for c in typed) < len(typed) / 5
        assert sum(c.contexts for c in typed) >= len(typed)
    assert row_of(typed)["mean_contexts"] <= 1.2
