"""`midword explain` tells what `midword complete` does: same text, same probabilities, shares that add up."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from engine.backends.base import StopSignal
from engine.completer import Completer
from engine.covers import STOP
from engine.explain import ExplainedCover, Explanation, explain, explanation_from_wire
from engine.model import open_gguf
from engine.types import Request
from lsp_server.__main__ import main
from lsp_server.explain_page import explanation_page
from lsp_server.token_tree import branches, percent, shown
from tests.engine.backends.tiny_llama import CONTEXT, write_tiny_llama
from tests.lsp_server.test_report import read

PREFIX = b"import os\n\n\ndef area(width, height):\n    return wid"
SUFFIX = b"th * height\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explain") / "tiny.gguf"
    write_tiny_llama(path)
    return path


@pytest.fixture(scope="module")
def completer(tiny: Path) -> Completer:
    return Completer(open_gguf(tiny, name="tiny", context_length=CONTEXT))


@pytest.fixture(scope="module")
def found(completer: Completer) -> Explanation:
    request = Request(PREFIX, SUFFIX, max_tokens=8, suffix_scoring="off")
    return explain(completer, request, StopSignal())


def test_where_the_suffix_decides_its_bytes_are_explained(completer: Completer) -> None:
    request = Request(PREFIX, SUFFIX, max_tokens=8)
    joined, result = explain(completer, request, StopSignal()), completer.complete(request, StopSignal())
    assert joined.join == result.join is not None
    assert joined.text == (result.shown[0].text if result.shown else b"")
    assert bytes(c.byte for c in joined.chosen) == joined.text
    assert explanation_from_wire(dataclasses.asdict(joined)) == joined


def test_it_explains_what_complete_does(completer: Completer, found: Explanation) -> None:
    result = completer.complete(Request(PREFIX, SUFFIX, max_tokens=8, suffix_scoring="off"), StopSignal())
    (completion,) = result.completions or [None]
    assert found.text == (completion.text if completion else b"") and found.certificate == result.certificate
    assert found.chosen, "the tiny model says something"
    if completion:
        logp = sum(np.log(c.probability) for c in found.chosen)
        assert logp == pytest.approx(completion.logp, abs=1e-6)


def test_shares_add_up(found: Explanation) -> None:
    assert sum(cover.share for cover in found.covers) == pytest.approx(1, abs=1e-9)
    assert sum(found.next_bytes) + found.certificate.non_canonical == pytest.approx(1, abs=1e-6)
    assert found.tail.endswith(b"wid") and b"".join(found.naive_tokens) == found.tail
    settled = b"".join(found.settled)
    for cover in found.covers:
        assert settled + b"".join(cover.tokens) == found.tail + cover.overhang


def test_covers_become_a_tree() -> None:
    covers = [
        ExplainedCover((b"c", b"ust", b"oken"), b"ken", 0.1),
        ExplainedCover((b"c", b"ust", b"o"), b"", 0.2),
        ExplainedCover((b"customer",), b"mer", 0.7),
    ]
    first, second = branches(covers)
    assert (first.token, first.overhang, first.ends, first.children) == (b"custo", b"mer", True, ())
    assert second.token == b"c" and second.share == pytest.approx(0.3) and not second.ends
    (inner,) = second.children
    assert [(b.token, b.overhang) for b in inner.children] == [(b"o", b""), (b"o", b"ken")]


def test_text_for_reading() -> None:
    assert shown(b" a\n\t\xc3\xa9\xff\x01") == "␣a⏎⇥é\\xff\\x01"
    assert [percent(p) for p in (1.0, 0.98765, 0.0012, 3e-7, 0.0)] == [
        "100 %",
        "98.8 %",
        "0.12 %",
        "3e-07",
        "0 %",
    ]


def test_the_page_is_well_formed_and_shows_the_texts(found: Explanation) -> None:
    parsed = read(explanation_page(found, "a<b>.py, line 1", PREFIX, SUFFIX))
    assert "a<b>.py, line 1" in parsed.text and "return wid" in parsed.text
    for cover in found.covers[:3]:
        assert shown(cover.tokens[-1][: len(cover.tokens[-1]) - len(cover.overhang)]) in parsed.text
    assert parsed.tags.count("section") == 6 and "script" not in parsed.tags


def test_the_command(
    tiny: Path, found: Explanation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "a.py", tmp_path / "out.html"
    source.write_bytes(PREFIX + SUFFIX)
    cursor = ["--line", "5", "--column", "15", "--max-tokens", "8"]
    common = ["explain", str(source), *cursor, "--model", str(tiny), "--context", str(CONTEXT)]
    assert main([*common, "--json", "--html", str(out)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["next_bytes"]) == STOP + 1 and len(report["covers"]) == len(found.covers)
    assert out.read_text().startswith("<!doctype html>")
    assert main(common) == 0
    printed = capsys.readouterr().out
    assert "exact distribution" in printed and "certificate: law canonical" in printed
    assert main([*common[:2], "--line", "99", "--column", "1"]) == 2
    assert source.read_bytes() == PREFIX + SUFFIX
