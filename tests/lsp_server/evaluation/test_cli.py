"""`midword eval` from end to end: a tiny model with FIM sentinels on llama.cpp, in all layouts."""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lsp_server.__main__ import main
from tests.engine.backends.tiny_llama import CONTEXT, write_tiny_llama
from tests.lsp_server.test_cli_mistakes import interrupted, running

PROBLEM = {
    "task_id": "mine/0",
    "entry_point": "area",
    "prompt": "def area(width, height):\n    return wid",
    "canonical_solution": "th * height",
    "suffix": "\n",
    "test": "def check(f):\n    assert f(2, 3) == 6\n",
}
METHODS, LAYOUTS = ("naive", "heal-one", "exact"), ("psm", "spm", "prefix", "below")
WAYS = {f"{method}, {layout}" for layout in LAYOUTS for method in METHODS}
WAYS |= {"exact, prefix+suffix", "exact, below+suffix", "exact, psm+suffix", "exact, spm+suffix"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("eval")
    write_tiny_llama(made / "tiny.gguf")
    with gzip.open(made / "single_line.jsonl.gz", "wt") as file:
        for number in range(2):
            file.write(json.dumps(PROBLEM | {"task_id": f"mine/{number}"}) + "\n")
    return made


def arguments_of(folder: Path, items: int) -> list[str]:
    arguments = ["eval", "single-line", "--items", str(items), "--max-tokens", "4", "--context", str(CONTEXT)]
    paths = {"--data": folder, "--model": folder / "tiny.gguf", "--out": folder / "out"}
    return [*arguments, *(word for option, path in paths.items() for word in (option, str(path)))]


def run_eval(folder: Path, items: int, capsys: pytest.CaptureFixture[str], *more: str) -> Any:
    assert main([*arguments_of(folder, items), *more]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_all_ways_in_one_run_and_more_items_later(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = folder / "out" / "state.jsonl"
    assert set(run_eval(folder, 1, capsys)["all"]) == WAYS
    first = state.read_bytes()
    assert first.count(b"\n") == 1 + len(WAYS)
    run_eval(folder, 1, capsys)
    assert state.read_bytes() == first
    run_eval(folder, 2, capsys)
    assert state.read_bytes().startswith(first) and state.read_bytes().count(b"\n") == 1 + 2 * len(WAYS)
    report = json.loads((folder / "out" / "report.json").read_text())
    assert {way: m["passed"]["count"] for way, m in report["all"].items()} == dict.fromkeys(WAYS, 2)
    page = (folder / "out" / "report.html").read_text()
    assert page.count('class="example"') == 2 and "spm" in page


@pytest.mark.skipif(os.name != "posix", reason="interrupts as a terminal of Unix does")
def test_control_c_loses_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was asked stays in the state, and the same command goes on behind it."""
    with gzip.open(tmp_path / "single_line.jsonl.gz", "wt") as file:
        for number in range(30):
            file.write(json.dumps(PROBLEM | {"task_id": f"mine/{number}"}) + "\n")
    state = tmp_path / "out" / "state.jsonl"
    more = ["--data", str(tmp_path), "--out", str(state.parent), "--method", "exact", "--layout", "prefix"]
    command = [*arguments_of(folder, 30), *more]
    with running([sys.executable, "-P", "-m", "lsp_server", *command]) as process:
        while process.poll() is None and (not state.exists() or state.read_bytes().count(b"\n") < 3):
            time.sleep(0.01)
        assert interrupted(process).endswith("\nmidword: interrupted\n")
        assert process.returncode == 130
    kept = state.read_bytes()
    lines = kept.splitlines()
    assert 3 <= len(lines) < 31 and all(map(json.loads, lines))
    found = run_eval(folder, 30, capsys, *more)
    assert state.read_bytes().startswith(kept) and state.read_bytes().count(b"\n") == 31
    assert found["all"]["exact, prefix"]["passed"]["count"] == 30


def test_two_runs_beside_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exact = ("--method", "exact", "--layout", "prefix")
    base, own = str(folder / "base"), str(folder / "own")
    run_eval(folder, 2, capsys, "--out", base, *exact)
    found = run_eval(folder, 1, capsys, "--out", own, "--beside", base, *exact)
    assert list(found["all"]) == ["exact, prefix of tiny", "exact, prefix"]
    assert all(means["passed"]["count"] == 1 for means in found["all"].values())


def test_what_cannot_be_done_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", str(folder / "tiny.gguf"), "--out", str(folder / "out")]
    assert main(["eval", "random-span", "--data", str(folder), *arguments]) == 2
    assert "expected the benchmark's file of that name" in capsys.readouterr().err
    assert main(["eval", "single-line", "--data", str(folder), "--seed", "5", *arguments]) == 2
    assert "of a run with other settings" in capsys.readouterr().err
    assert main(["eval", "single-line", "--data", str(folder), "--related", "3", *arguments]) == 2
    assert "are single files; leave out --related" in capsys.readouterr().err
    assert main(["eval", "single-line", "--data", str(folder), "--unwritten", "2", *arguments]) == 2
    assert "leave out --unwritten" in capsys.readouterr().err
