"""Runs: every item in every way once, also after a kill; figures and the page from the rows."""

from __future__ import annotations

import dataclasses
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.backends.base import StopSignal
from engine.completer import Completer
from engine.errors import InputError
from engine.fim import Template
from engine.types import Completion, Excerpt, Request, Result, Usage
from lsp_server.evaluation import human_eval
from lsp_server.evaluation.items import Item, chosen
from lsp_server.evaluation.methods import METHODS, Layout, Way, complete, template_of, ways
from lsp_server.evaluation.page import report_page, terminal_table
from lsp_server.evaluation.runs import State, rows_beside, run
from lsp_server.evaluation.tables import figures, gain_of
from tests.engine.toy_models import ToyModel
from tests.engine.toys import TOYS

WAYS = [Way("prefix", "naive"), Way("prefix", "exact")]
ITEMS = [Item(f"item {n}", f"file {n % 3}", "a", "python", b"x = ", b"\n", b"%d" % n) for n in range(6)]


def answer(item: Item, way: Way) -> Result:
    """Exact is always right, naive for even numbers."""
    is_right = way.method == "exact" or int(item.middle) % 2 == 0
    text = item.middle if is_right else b"wrong <b>"
    return Result(
        (Completion(text, -1.0, "lines"),), None, Usage(*(1 for _ in dataclasses.fields(Usage))), "fake"
    )


def finished(path: Path) -> State:
    state = State(path, {"task": "t"})
    run(ITEMS, WAYS, answer, state, lambda: None)
    return state


KILLED = """
import os, signal, sys
from pathlib import Path
from lsp_server.evaluation.runs import State, run
from tests.lsp_server.evaluation import test_runs as t
count = 0
def ask(item, way):
    global count
    count += 1
    if count == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return t.answer(item, way)
run(t.ITEMS, t.WAYS, ask, State(Path(sys.argv[1]), {"task": "t"}), lambda: None)
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out" / "state.jsonl"
    root = Path(__file__).parents[3]
    env = {"PYTHONPATH": f"{root}:{root / 'kernels'}"}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=root, env=env)
    assert killed.returncode == -9
    with path.open("ab") as file:
        file.write(b'{"item_id": "item 2", "wa')
    asked: list[tuple[str, str]] = []

    def ask(item: Item, way: Way) -> Result:
        asked.append((item.item_id, way.name))
        return answer(item, way)

    state = State(path, {"task": "t"})
    assert len(state.rows) == 5
    run(ITEMS, WAYS, ask, state, lambda: None)
    assert len(asked) == len(ITEMS) * len(WAYS) - 5
    whole = finished(tmp_path / "whole.jsonl")
    assert state.rows == whole.rows == State(path, {"task": "t"}).rows


def test_a_state_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    finished(path)
    with pytest.raises(InputError, match="other settings"):
        State(path, {"task": "u"})
    path.write_text("not JSON\n")
    with pytest.raises(InputError, match="cannot use"):
        State(path, {"task": "t"})


def test_figures_and_gains(tmp_path: Path) -> None:
    rows = finished(tmp_path / "state.jsonl").rows
    found = figures(rows, 0)
    assert found["all"]["naive, prefix"]["exact"]["mean"] == pytest.approx(0.5)
    assert found["all"]["exact, prefix"]["exact"]["mean"] == 1
    gain = gain_of(rows, "exact, prefix", "naive, prefix", "exact", 0)
    assert gain is not None and gain.mean == pytest.approx(0.5) and gain.count == 6
    (listed,) = (g for g in found["gains"] if g["score"] == "exact")
    assert listed["mean"] == pytest.approx(0.5)
    json.dumps(found, allow_nan=False)


def test_layouts_are_compared_with_the_first_that_scores_the_suffix_or_does_not(tmp_path: Path) -> None:
    state = State(tmp_path / "state.jsonl", {"task": "t"})
    layouts: list[Layout] = ["prefix", "below", "prefix+suffix", "below+suffix"]
    run(ITEMS, [Way(layout, "exact") for layout in layouts], answer, state, lambda: None)
    pairs = {(g["ours"], g["theirs"]) for g in figures(state.rows, 0)["gains"]}
    first = {(f"exact, {layout}", "exact, prefix") for layout in ("below", "prefix+suffix", "below+suffix")}
    assert pairs == first | {("exact, below+suffix", "exact, prefix+suffix")}


def test_another_models_run_stands_beside_and_gains_are_between_the_same_ways(tmp_path: Path) -> None:
    asked = {"task": "t", "model": "mine"}
    path = tmp_path / "state.jsonl"
    run(ITEMS[:4], WAYS, answer, State(path, asked | {"model": "base"}), lambda: None)
    others = rows_beside(path, asked)
    assert [row.way for row in others[:2]] == ["naive, prefix of base", "exact, prefix of base"]
    own = State(tmp_path / "own.jsonl", asked)
    run(ITEMS, WAYS, lambda item, way: answer(item, WAYS[1]), own, lambda: None)
    gains = {
        (g["ours"], g["theirs"]): g
        for g in figures([*others, *own.rows], 0)["gains"]
        if g["score"] == "exact"
    }
    assert set(gains) == {("exact, prefix", "naive, prefix")} | {
        (f"{method}, prefix", f"{method}, prefix of base") for method in ("naive", "exact")
    }
    naive = gains["naive, prefix", "naive, prefix of base"]
    assert (naive["mean"], naive["count"]) == (0.5, 4)
    with pytest.raises(InputError, match="other settings, so it cannot stand beside"):
        rows_beside(path, asked | {"seed": 1})
    without = rows_beside(path, {"task": "t", "model": "base", "related": 2})
    assert without[0].way == "naive, prefix of base, 0 related files"
    for text in ("", "[]", "no JSON"):
        path.write_text(text)
        with pytest.raises(InputError, match="not the state of a run"):
            rows_beside(path, asked)
    with pytest.raises(InputError, match=r"not the state of a run: .*No such file"):
        rows_beside(tmp_path / "nowhere", asked)


def test_the_page_shows_every_completion_and_escapes_it(tmp_path: Path) -> None:
    rows = finished(tmp_path / "state.jsonl").rows
    html = report_page(rows, "About <it>.", "midword eval", 0)
    assert "wrong &lt;b&gt;" in html and "wrong <b>" not in html
    assert html.count('class="example"') == len(ITEMS) and html.count('data-differs="yes"') == 3
    assert "<svg" in html and "src=" not in html
    assert len(terminal_table(rows, "t", 0).rows) == 2


def test_items_are_drawn_from_all_groups_and_the_same_for_a_seed() -> None:
    found = chosen(ITEMS, 3, 5)
    assert {item.group for item in found} == {"file 0", "file 1", "file 2"}
    assert chosen(ITEMS, 3, 5) == found
    assert sorted(i.item_id for i in chosen(ITEMS, 99, 1)) == sorted(i.item_id for i in ITEMS)


# -- methods --------------------------------------------------------------------------------------


def test_ways_are_what_the_model_can_do() -> None:
    names = [way.name for way in ways(Template("none"), None, None)]
    each = [f"{method}, {layout}" for layout in ("prefix", "below") for method in METHODS]
    assert names == [*each, "exact, prefix+suffix", "exact, below+suffix"]
    assert len(ways(Template("psm", (), (1,), (2,), (3,)), None, None)) == 4 * 3 + 4
    with pytest.raises(InputError, match="needs a model with FIM"):
        ways(Template("none"), ["psm"], None)


def test_layouts_are_templates() -> None:
    psm = Template("psm", (9,), (1,), (2,), (3,))
    assert template_of(psm, "psm") == template_of(psm, "psm+suffix") == psm
    spm = Template("spm", (9, 1), (), (2,), (3,))
    assert template_of(psm, "spm") == template_of(psm, "spm+suffix") == template_of(spm, "spm") == spm
    with pytest.raises(InputError, match="leave out the PSM layouts"):
        template_of(spm, "psm+suffix")
    assert template_of(psm, "prefix") == template_of(psm, "prefix+suffix") == Template("none", (9,))
    assert template_of(psm, "below") == template_of(psm, "below+suffix") == Template("none", (9,))


def test_a_completion_is_what_the_completer_says() -> None:
    model = ToyModel.random(TOYS["chain"], 2).engine_model(Template("none"))
    item = Item("i", "g", "k", "python", b"ab", b"ca\nab\n", b"b")
    for way in ways(model.template, None, None):
        found = complete(model, item, way, 5)
        scored = "+" in way.layout
        request = Request(
            item.prefix,
            item.suffix,
            related=(Excerpt("", b"ab\n", below=True),) if "below" in way.layout else (),
            max_tokens=5,
            method=way.method,
            suffix_scoring="on" if scored else "off",
            drafts="off",
        )
        assert found.completions == Completer(model).complete(request, StopSignal()).completions
        assert (found.join is not None) == scored


# -- HumanEval-Infilling --------------------------------------------------------------------------

PROBLEM = {
    "task_id": "SingleLineInfilling/Mine/0/L0",
    "entry_point": "double",
    "prompt": "def double(x):\n    y = x\n",
    "canonical_solution": "    y *= 2",
    "suffix": "\n    return y\n",
    "test": "def check(f):\n    assert f(2) == 4\n    assert f(-1) == -2\n",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with gzip.open(tmp_path / "single_line.jsonl.gz", "wt") as file:
        file.write(json.dumps(PROBLEM) + "\n")
    return tmp_path


def test_a_problem_passes_with_its_middle_only(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(human_eval.DATA_VARIABLE, str(data))
    (item,) = human_eval.load("single-line", None)
    assert (item.kind, item.max_lines, item.group) == ("line start to line end", 1, "double")
    assert item.check is not None
    for middle, passes in (
        (item.middle, True),
        (b"    y += x", True),
        (b"    y += 2", False),
        (b"  y", False),
    ):
        assert item.check.passes(item.prefix + middle + item.suffix) is passes


def test_data_that_is_missing_or_of_another_form(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(human_eval.DATA_VARIABLE, raising=False)
    with pytest.raises(InputError, match="where is HumanEval-Infilling"):
        human_eval.load("single-line", None)
    with pytest.raises(InputError, match=r"cannot read .*random_span_light"):
        human_eval.load("random-span-light", data)
    with gzip.open(tmp_path / "single_line.jsonl.gz", "wt") as file:
        file.write("{}\n")
    with pytest.raises(InputError, match="not of the benchmark's form"):
        human_eval.load("single-line", tmp_path)
