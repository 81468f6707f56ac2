"""The law on the default model: next-byte distributions against a brute-force sum that shares no code.

The weights are F32, keys and values too (specification, section 10: quantised kernels answer differently
for batches of different shapes; `bench/noise.py` measures by how much). The reference takes llama.cpp's own
tokenizer for what is canonical, tries every token of the vocabulary, and scores every path on its own.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from engine.backends.base import StopSignal
from engine.completer import Completer
from engine.model import Model, load_model
from engine.models.store import resolve
from engine.tree import ROOT, TokenPath, TokenTree
from engine.types import Request
from engine.vocab import FloatArray
from tests.engine.corpus import CODE, STDLIB
from tests.engine.llama_tokenizer import LlamaTokenizer

pytestmark = pytest.mark.model
CURSORS = 20
LONGEST = 80
"""Bytes before a cursor."""
NEGLIGIBLE = 1e-10
"""A token below this probability is not looked at; all of them together are below 5e-6."""
FOLLOWERS = (b"", b"a", b"e", b"l", b"1", b".", b"\n", b" x", b"  ")
"""What may follow decides where the last words end: see docs/decisions/0002."""


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    loaded = load_model("smollm2-135m:f32", kv="f32")
    yield loaded
    loaded.backend.close()


@pytest.fixture(scope="module")
def theirs() -> Iterator[LlamaTokenizer]:
    tokenizer = LlamaTokenizer(resolve(None).path)
    yield tokenizer
    tokenizer.close()


class BruteForce:
    """The law by its definition: all canonical covers of a text, each with its probability."""

    def __init__(self, model: Model, theirs: LlamaTokenizer, text: bytes) -> None:
        self._model, self._theirs, self._text = model, theirs, text
        self._token_bytes = model.tokenizer.vocab.token_bytes
        self._row = cache(self._score)

    def _score(self, path: TokenPath) -> FloatArray:
        path = (self._model.separator, *path)
        (row,) = self._model.backend.score(path, TokenTree((), ()), [ROOT], StopSignal())
        return row

    def _probability(self, path: TokenPath) -> float:
        return float(np.exp(sum(self._row(path[:k])[token] for k, token in enumerate(path))))

    def _bytes(self, path: TokenPath) -> bytes:
        return b"".join(self._token_bytes[token] for token in path)

    def _contexts(self, end: int) -> set[TokenPath]:
        """All canonical sequences of text[:end]."""
        found = set()
        for more in FOLLOWERS:
            path = self._theirs.encode(self._text[:end] + more)
            ends = np.cumsum([0] + [len(self._token_bytes[token]) for token in path])
            if end in ends:
                found.add(path[: int(np.flatnonzero(ends == end)[0])])
        return found

    def _is_canonical(self, path: TokenPath) -> bool:
        """Whether some text begins with these tokens."""
        text = self._bytes(path)
        try:
            text.decode()
        except UnicodeDecodeError:  # llama.cpp's tokenizer would replace the cut character
            return self._model.tokenizer.is_canonical(path)
        return any(self._theirs.encode(text + more)[: len(path)] == path for more in FOLLOWERS)

    def _longer(self, context: TokenPath, head: bytes) -> list[TokenPath]:
        """`context` with each token that starts with `head`, as far as that is canonical."""
        likely = self._row(context) > np.log(NEGLIGIBLE)
        tokens = [t for t, spelled in enumerate(self._token_bytes) if spelled.startswith(head) and likely[t]]
        return [path for t in tokens if self._token_bytes[t] and self._is_canonical(path := (*context, t))]

    def shares(self) -> FloatArray:
        """(256,) P(text + byte) / P(text)."""
        text, sums, total = self._text, np.zeros(256), 0.0
        exact: list[TokenPath] = []
        for start in range(max(0, len(text) - max(map(len, self._token_bytes))), len(text)):
            for context in self._contexts(start):
                for cover in self._longer(context, text[start:]):
                    probability, overhang = self._probability(cover), self._bytes(cover)[len(text) :]
                    total += probability
                    if overhang:
                        sums[overhang[0]] += probability
                    else:
                        exact.append(cover)
        for cover in exact:
            for path in self._longer(cover, b""):
                sums[self._bytes(path)[len(text)]] += self._probability(path)
        return sums / total


@cache
def cursors() -> list[bytes]:
    """Texts that end somewhere in code: half of them inside a word, the others anywhere."""
    rng, texts = random.Random(20), []
    source = CODE + STDLIB[:40_000]
    while len(texts) < CURSORS:
        end = rng.randrange(LONGEST, len(source))
        inside = source[end - 1 : end].isalpha() and source[end : end + 1].isalpha()
        if inside or len(texts) % 2:
            start = source.rfind(b"\n", 0, end - rng.randrange(10, LONGEST)) + 1
            texts.append(source[max(start, end - LONGEST) : end])
    return texts


def variation(a: FloatArray, b: FloatArray) -> float:
    return float(np.abs(a - b).sum() / 2)


IN_EVERY_RUN = 5
NUMBERS = [pytest.param(n, marks=[pytest.mark.long] if n >= IN_EVERY_RUN else []) for n in range(CURSORS)]


@pytest.mark.parametrize("number", NUMBERS)
def test_next_bytes_equal_a_brute_force_sum(number: int, model: Model, theirs: LlamaTokenizer) -> None:
    text = cursors()[number]
    found = Completer(model).next_bytes(text, b"", "canonical", StopSignal())
    off = variation(np.array(found.bytes_), BruteForce(model, theirs, text).shares())
    print(f"total variation {off:.1e} after {text[-20:]!r}")
    assert off < 1e-4
    assert sum(found.bytes_) + found.stop + found.non_canonical == pytest.approx(1)


def test_the_command_gives_the_same_distribution(model: Model, tmp_path: Path) -> None:
    text = cursors()[0]
    (tmp_path / "prefix").write_bytes(text)
    weights = str(resolve("smollm2-135m:f32").path)
    argv = [sys.executable, "-P", "-m", "lsp_server", "next-bytes", "--prefix-file", str(tmp_path / "prefix")]
    argv += ["--model", weights, "--kv", "f32", "--json"]
    answer = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    found = Completer(model).next_bytes(text, b"", "canonical", StopSignal())
    given = np.array([answer["bytes"].get(str(byte), 0.0) for byte in range(256)])
    assert variation(given, np.array(found.bytes_)) < 1e-6
    assert len(answer["covers"]) == len(found.covers) and answer["dropped_bound"] == 0


def test_completing_further_along_gives_the_same_text(model: Model) -> None:
    """Cursor invariance, at every byte of the completion."""
    completer = Completer(model)
    for text in cursors()[:4]:
        (whole,) = completer.complete(Request(text, max_tokens=12), StopSignal()).completions
        for taken in range(1, len(whole.text)):
            further = Request(text + whole.text[:taken], max_tokens=12)
            (rest,) = completer.complete(further, StopSignal()).completions
            both = min(len(whole.text) - taken, len(rest.text))
            assert whole.text[taken : taken + both] == rest.text[:both], (text, taken)


def test_what_is_evaluated_is_about_what_is_written(model: Model) -> None:
    """Covers that cannot win cost no rows: beside plain tokens, decoding costs a few percent more of them."""
    completer, backend = Completer(model), model.backend
    evaluated = written = 0
    for text in cursors()[:8]:
        request = Request(text, max_tokens=16, max_lines=100)
        completer.warm(request, StopSignal())
        before = backend.tokens_evaluated
        (found,) = completer.complete(request, StopSignal()).completions
        evaluated += backend.tokens_evaluated - before
        written += len(model.tokenizer.encode(found.text))
    print(f"{evaluated} rows for {written} tokens")
    assert evaluated <= 1.15 * written


def test_a_middle_costs_fewer_rows_than_its_greedy_text_and_all_its_endings(model: Model) -> None:
    """Inside lines. Scoring the join behind all texts on the way would ask for several times more."""
    completer, backend, source = Completer(model), model.backend, STDLIB[:40_000]
    places = list(re.finditer(rb"(?<=[a-z]{3})[a-z]{3,6}(?=[^a-z\n][^\n]{4,30}\n)", source))
    rows = evaluations = right = 0
    for match in places[50:1000:80]:
        prefix = source[max(0, match.start() - 600) : match.start()]
        request = Request(prefix, source[match.end() : match.end() + 200], max_tokens=16, max_lines=4)
        completer.warm(request, StopSignal())
        before = backend.tokens_evaluated, backend.evaluations
        shown = completer.complete(request, StopSignal()).completions
        rows += backend.tokens_evaluated - before[0]
        evaluations += backend.evaluations - before[1]
        right += bool(shown) and shown[0].text == match.group()
    count = len(places[50:1000:80])
    print(f"{rows} rows in {evaluations} evaluations for {count} middles, {right} right")
    assert right >= count / 2 and rows <= 25 * count and evaluations <= 8 * count
