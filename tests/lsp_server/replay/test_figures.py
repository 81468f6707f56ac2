"""Figures from hand-made sessions, checkable by hand."""

from __future__ import annotations

import random

import pytest

from lsp_server.replay.buffer import Buffer, Change
from lsp_server.replay.editor import Key, Session
from lsp_server.replay.figures import Figures, Run, censored_quantile, figures
from lsp_server.replay.page import ratios, report_page, terminal_table
from lsp_server.replay.peer import Cost, Ghost
from lsp_server.replay.process import Used
from lsp_server.replay.traces import Trace


class Nobody:
    """A peer that is never asked."""

    def __init__(self, name: str, costs: list[Cost]) -> None:
        self.name, self.costs, self.start_ms = name, costs, {"initialize": 400.0}

    async def open(self, buffer: Buffer) -> None: ...

    def changed(self, buffer: Buffer, change: Change) -> None: ...

    async def ask(self, buffer: Buffer, key: int) -> Ghost:
        return Ghost()

    def pids(self) -> list[int]:
        return []

    async def close(self) -> None: ...


def example(name: str = "midword", slower: float = 1.0) -> Figures:
    keys = [
        Key("move", "word start", "abc", 400.0 * slower),
        Key("type", "inside a name", "bc", 2.0 * slower, is_right=True),
        Key("type", "inside a name", withdrawn_ms=50.0),
        Key("type", "inside a name", "d", 100.0 * slower, is_stale=True),
        Key("type", "word start", "", 30.0),
    ]
    costs = [
        Cost(0, "asked", "done", 300, 8, 9, 200.0, 360.0, None, True),
        Cost(2, "asked", "cancelled", 2, 3, 3, 0.0, 0.0, 10.0),
        Cost(3, "asked", "done", 1, 4, 5, 10.0, 90.0, None, True),
        Cost(3, "ahead", "done", 5, 7, 8, 10.0, 90.0, None, False),
    ]
    session = Session(Trace("a.py", "text", ()), keys, accepted_chars=1, typed_chars=3, text="text")
    return figures([Run(Nobody(name, costs), session, Used(1.0, 0, 0), Used(3.0, 500.0, 300.0), 10.0)])


def test_the_figures_of_a_small_session() -> None:
    found = example()
    everything = found.row("all")
    assert everything.keys == 5 and everything.answered_share == 0.8 and everything.shown_share == 0.75
    assert everything.right_share == pytest.approx(1 / 3) and everything.stale == 1
    # 2 of 4 times; the wait of 50 takes a quarter of the mass and leaves it to the two longer times.
    assert (everything.p50_ms, everything.p95_ms) == (100.0, 400.0)
    assert everything.prompt_tokens == 1 and everything.prompt_tokens_mean == 303 / 5
    assert found.row("inside a name").prompt_tokens == 1 and found.row("after a jump").p50_ms == 400.0
    assert found.evaluations_per_completion == 7
    assert found.ms_per_evaluation == (160 + 80) / (8 + 4)
    assert found.cancel_steps_p50 == 10.0 / 20
    assert (found.decode_tokens, found.wasted_tokens, found.ahead_tokens) == (22, 10, 12)
    assert (found.cpu_s_per_key, found.cpu_cores_used) == (0.4, 0.2)
    assert found.accepted_share == 0.25 and found.text_is_whole


def test_ratios_and_the_page() -> None:
    pair = [example(), example("<peer>", slower=5)]
    assert ratios(pair)["<peer>"]["p50"] == 5.0
    html = report_page(pair, "midword bench replay", "On a test.")
    assert html.count("<svg") == 5 and "&lt;peer&gt;" in html and "<peer>" not in html
    assert "http" not in html.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")
    assert terminal_table(pair[0]).row_count == len(pair[0].rows)


def test_without_withdrawals_it_is_the_usual_quantile() -> None:
    for seed in range(20):
        times = [random.Random(seed * 100 + n).random() for n in range(1 + seed * 3)]
        for share in (0.5, 0.95, 0.99):
            ordered = sorted(times)
            reference = next(t for n, t in enumerate(ordered, 1) if n / len(ordered) >= share - 1e-9)
            assert censored_quantile(times, [], share) == reference
    assert censored_quantile([], [], 0.5) is None


def test_withdrawn_questions_count_as_slower_than_their_wait() -> None:
    assert censored_quantile([1.0, 2.0, 3.0, 4.0], [], 0.5) == 2.0
    assert censored_quantile([1.0, 2.0, 3.0, 4.0], [0.5, 0.5], 0.5) == 2.0, "it waited for less than any"
    assert censored_quantile([1.0, 2.0, 3.0, 4.0], [1.5, 1.5], 0.5) == 3.0
    assert censored_quantile([1.0, 2.0], [9.0, 9.0, 9.0], 0.5) is None, "beyond all that is known"
