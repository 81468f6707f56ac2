"""What every backend owes (`backends.base.Backend`): the same tests on each of them.

The backends run a tiny llama with random weights (F32, Q8_0 for the native one), so that nothing is
downloaded; the default model's own numbers are in `test_default_model.py`. Torch is not part of the
development install:
without it its tests are skipped, `make test-torch` runs them. One-by-one scoring, on a backend of its own
that has nothing resident, is the reference.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.backends import native_weights
from engine.backends.base import Backend, StopSignal
from engine.backends.fake import FakeBackend, random_table
from engine.backends.llama_cpp import LlamaCppBackend
from engine.backends.native import NativeBackend
from engine.cache import Scorer
from engine.covers import DROPPED_BOUND, CoverSpace
from engine.errors import BackendError, Cancelled
from engine.models.gguf import check
from engine.tree import ROOT, TokenPath, TokenTree, tree_of
from engine.vocab import FloatArray
from tests.engine.backends.tiny_llama import CONTEXT, write_tiny_folder, write_tiny_llama
from tests.engine.models_of_tables import CODE, vocabulary
from tests.engine.toy_models import resolved

VOCABULARY = len(vocabulary().tokenizer.vocab)
TOLERANCE = 1e-5
"""Largest total variation allowed between two ways to score the same path, F32 weights and F32 KV."""

Open = Callable[[], Backend]
KINDS = ("fake", "llama.cpp", "native", "torch")
CACHING = pytest.mark.parametrize("open_backend", KINDS[1:], indirect=True)
"""For what only a backend with a KV cache can show; the fake one evaluates every tree anew."""


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_tiny_llama(path)
    return path


@pytest.fixture(scope="session")
def tiny_llama_of_8_bits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny-q8_0.gguf"
    write_tiny_llama(path, eight_bits=True)
    return path


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_folder(folder)
    return folder


@pytest.fixture(params=KINDS)
def open_backend(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens backends of one kind over one model, and closes them."""
    opened: list[Backend] = []

    def open_one() -> Backend:
        if request.param == "fake":
            backend: Backend = FakeBackend(random_table(VOCABULARY, seed=3), VOCABULARY, CONTEXT)
        elif request.param == "torch":
            pytest.importorskip("torch", reason="torch is not installed; `make test-torch` runs this")
            from tests.engine.backends import torch_folders

            folder = request.getfixturevalue("tiny_folder")
            backend = torch_folders.opened(folder, CONTEXT, parking_bytes=2**20)
        elif request.param == "native":
            path = request.getfixturevalue("tiny_llama_of_8_bits")
            gguf = check(path)
            if native_weights.why_not(gguf) == native_weights.NOT_BUILT:
                pytest.skip("no compiler, or no AVX2")
            backend = NativeBackend(
                native_weights.Loading(path, gguf, context_length=CONTEXT, kv_bytes=2**19)
            )
        else:
            path = request.getfixturevalue("tiny_llama")
            backend = LlamaCppBackend(path, context_length=CONTEXT, threads=1, parking_bytes=2**20)
        opened.append(backend)
        return backend

    yield open_one
    for backend in opened:
        backend.close()
        backend.close()


def score(backend: Backend, path: TokenPath) -> FloatArray:
    """The row after one path, asked for alone."""
    (row,) = backend.score(path, TokenTree((), ()), [ROOT], StopSignal())
    return row


def variation(a: FloatArray, b: FloatArray) -> float:
    """Total variation between two rows of logs."""
    return float(np.abs(np.exp(a) - np.exp(b)).sum() / 2)


def some_path(rng: random.Random, backend: Backend, length: int) -> TokenPath:
    return tuple(rng.randrange(backend.vocab_size) for _ in range(length))


def some_tree(rng: random.Random, backend: Backend, nodes: int) -> TokenTree:
    parents = tuple(rng.randrange(-1, node) if node else ROOT for node in range(nodes))
    return TokenTree(some_path(rng, backend, nodes), parents)


def test_rows_are_log_probabilities(open_backend: Open) -> None:
    backend = open_backend()
    row = score(backend, (1, 2, 3))
    assert row.shape == (backend.vocab_size,)
    assert np.exp(row).sum() == pytest.approx(1, abs=1e-6)


def test_a_tree_equals_its_paths_one_by_one(open_backend: Open) -> None:
    backend, reference, rng = open_backend(), open_backend(), random.Random(0)
    for _ in range(12):
        context = some_path(rng, backend, rng.randrange(1, 40))
        tree = some_tree(rng, backend, rng.randrange(1, 12))
        wanted = [ROOT, *range(len(tree))]
        rows = backend.score(context, tree, wanted, StopSignal())
        for node, row in zip(wanted, rows, strict=True):
            path = (*context, *(tree.tokens[n] for n in tree.branch(node)))
            assert variation(row, score(reference, path)) < TOLERANCE, (context, tree, node)


def test_pushing_and_popping_tokens_equals_scoring_anew(open_backend: Open) -> None:
    """What is resident from other paths never shows in a row."""
    backend, reference, rng = open_backend(), open_backend(), random.Random(1)
    path = some_path(rng, backend, 5)
    for _ in range(60):
        path = path[: rng.randrange(1, len(path))] if len(path) > 1 and rng.random() < 0.4 else path
        path += some_path(rng, backend, rng.randrange(1, 4))
        assert variation(score(backend, path), score(reference, path)) < TOLERANCE, path


@CACHING
def test_only_what_is_not_resident_is_evaluated(open_backend: Open) -> None:
    backend = open_backend()
    rng = random.Random(2)
    path = some_path(rng, backend, 100)
    score(backend, path)
    for shorter, longer, expected in (
        (path, (*path, 1), 1),  # a typed token
        ((*path, 1), (*path, 1, 2, 3), 2),
        ((*path, 1, 2, 3), (*path, 1), 1),  # backspace: the row is asked again, its context is resident
        ((*path, 1), (*path[:50], 9), 1),  # a change in the middle keeps what stands before it
        (path, (*path, 7), 1),  # and the old path is still there
    ):
        before = backend.tokens_evaluated
        score(backend, longer)
        assert backend.tokens_evaluated - before == expected, (len(shorter), len(longer))
    before, calls = backend.tokens_evaluated, backend.evaluations
    tree, _ = tree_of([(1, 5), (1, 6), (2,)])
    backend.score(path, tree, list(range(len(tree))), StopSignal())
    assert (backend.tokens_evaluated - before, backend.evaluations - calls) == (len(tree), 1)


def test_a_cancelled_request_evaluates_nothing_and_harms_nothing(open_backend: Open) -> None:
    backend, reference = open_backend(), open_backend()
    rng = random.Random(4)
    path = some_path(rng, backend, 50)
    expected = score(reference, path)
    stop = StopSignal()
    stop.cancel()
    with pytest.raises(Cancelled):
        backend.score(path, TokenTree((), ()), [ROOT], stop)
    assert backend.evaluations == 0
    assert variation(score(backend, path), expected) < TOLERANCE


class StopAfter(StopSignal):
    """Cancels itself when it has been looked at `looks` times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def check(self) -> None:
        self._looks -= 1
        if self._looks < 0:
            self.cancel()
        super().check()


class CancelledInside(StopSignal):
    """Cancelled right after the second look: inside the second evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def check(self) -> None:
        super().check()
        self.looks += 1
        if self.looks == 2:
            self.cancel()


@CACHING
def test_a_cancellation_takes_effect_between_evaluations_and_keeps_what_is_done(open_backend: Open) -> None:
    backend, reference = open_backend(), open_backend()
    path = some_path(random.Random(5), backend, 500)
    with pytest.raises(Cancelled):
        backend.score(path, TokenTree((), ()), [ROOT], StopAfter(1))
    done = backend.tokens_evaluated
    assert 0 < done < len(path)
    assert variation(score(backend, path), score(reference, path)) < TOLERANCE
    assert backend.tokens_evaluated == len(path), "nothing was evaluated twice"


@CACHING
@pytest.mark.parametrize("delay_ms", [0, 1, 3, 8, 20])
def test_a_cancellation_takes_effect_within_an_evaluation(open_backend: Open, delay_ms: int) -> None:
    """Wherever it hits, the decode ends early and no row is wrong afterwards."""
    backend, reference, rng = open_backend(), open_backend(), random.Random(delay_ms)
    context = some_path(rng, backend, 200)
    score(backend, context[:50])
    tree = some_tree(rng, backend, 12)
    for _ in range(4):
        stop = StopSignal()
        timer = threading.Timer(delay_ms / 1000, stop.cancel)
        timer.start()
        with contextlib.suppress(Cancelled):
            backend.score(context, tree, range(12), stop)
        timer.join()
        rows = backend.score(context, tree, range(12), StopSignal())
        for node, row in enumerate(rows):
            path = (*context, *(tree.tokens[n] for n in tree.branch(node)))
            assert variation(row, score(reference, path)) < TOLERANCE
        context = some_path(rng, backend, 200)


@CACHING
def test_an_aborted_evaluation_is_much_shorter_and_loses_at_most_a_chunk(open_backend: Open) -> None:
    backend, reference = open_backend(), open_backend()
    path = some_path(random.Random(9), backend, 500)
    stop = CancelledInside()
    with pytest.raises(Cancelled):
        backend.score(path, TokenTree((), ()), [ROOT], stop)
    assert stop.looks == 2 and backend.tokens_evaluated == 256, "the second chunk was begun and given up"
    assert variation(score(backend, path), score(reference, path)) < TOLERANCE
    assert backend.tokens_evaluated == len(path)


@CACHING
def test_another_document_comes_back_without_evaluation(open_backend: Open) -> None:
    """Parked keys and values are the same bits."""
    backend, rng = open_backend(), random.Random(10)
    documents = [some_path(rng, backend, 300) for _ in range(3)]
    rows = [score(backend, path) for path in documents]
    following = [score(backend, (*path, 5)) for path in documents]
    before = backend.tokens_evaluated
    for path, row, after in zip(documents, rows, following, strict=True):
        assert np.array_equal(score(backend, (*path, 5)), after)
        assert variation(score(backend, path), row) < TOLERANCE
    assert backend.tokens_evaluated - before == 2 * len(documents)


def test_a_full_context_forgets_the_oldest_paths(open_backend: Open) -> None:
    backend, reference, rng = open_backend(), open_backend(), random.Random(6)
    paths = [some_path(rng, backend, 150) for _ in range(6)]
    for path in (*paths, *reversed(paths), *rng.sample(paths, 6)):
        row = score(backend, path)
        assert variation(row, score(reference, path)) < TOLERANCE
    fills = some_path(rng, backend, CONTEXT - 12)
    tree = some_tree(rng, backend, 12)
    rows = backend.score(fills, tree, [11], StopSignal())
    path = (*fills, *(tree.tokens[n] for n in tree.branch(11)))
    assert variation(rows[0], score(reference, path)) < TOLERANCE


def test_more_paths_than_sequences(open_backend: Open) -> None:
    backend, reference, rng = open_backend(), open_backend(), random.Random(7)
    context = some_path(rng, backend, 20)
    paths = [(*context, *some_path(rng, backend, rng.randrange(1, 5))) for _ in range(70)]
    rows = Scorer(backend).rows(paths, StopSignal())
    for path, row in zip(paths, rows, strict=True):
        assert variation(row, score(reference, path)) < TOLERANCE


@CACHING
def test_a_path_longer_than_the_context_is_refused_and_the_backend_lives(open_backend: Open) -> None:
    backend = open_backend()
    path = some_path(random.Random(8), backend, CONTEXT + 1)
    with pytest.raises(BackendError, match=f"needs {CONTEXT + 1} tokens, the context holds {CONTEXT}"):
        score(backend, path)
    assert score(backend, path[:CONTEXT]).shape == (backend.vocab_size,)


def test_random_questions_equal_the_reference(open_backend: Open) -> None:
    """Growing, shrinking, branching and turning back at random, with little room."""
    backend, reference, rng = open_backend(), open_backend(), random.Random(9)
    contexts = [some_path(rng, backend, rng.randrange(1, 120)) for _ in range(5)]
    for _ in range(40):
        context = rng.choice(contexts)[: rng.randrange(1, 120)]
        context += some_path(rng, backend, rng.randrange(3))
        tree = some_tree(rng, backend, rng.randrange(8))
        wanted = sorted({ROOT, *rng.sample(range(len(tree)), len(tree) // 2)})
        rows = backend.score(context, tree, wanted, StopSignal())
        for node, row in zip(wanted, rows, strict=True):
            path = (*context, *(tree.tokens[n] for n in tree.branch(node)))
            assert variation(row, score(reference, path)) < TOLERANCE


def test_what_the_certificate_says_is_unknown_bounds_what_was_left_out(open_backend: Open) -> None:
    """Covers opened and read on without asking, against a backend that was asked for all of them."""
    tokenizer = vocabulary().tokenizer
    left, right = (CoverSpace(tokenizer, Scorer(open_backend()), (), StopSignal()) for _ in "lr")
    unknown = []
    for start in range(0, len(CODE) - 22, 4):
        text = CODE[start : start + 22]
        opened = left.open((0,), text[:20])
        assert opened.shares.unknown <= DROPPED_BOUND
        state = opened.read(text[20:])
        found, truth = state.shares, resolved(right.open((0,), text)).shares
        assert np.abs(found.known - truth.known).max() <= found.unknown + TOLERANCE, text
        assert found.known.sum() + found.unknown + found.non_canonical == pytest.approx(1)
        unknown.append(found.unknown)
    assert max(unknown) > 0.01, "nothing was left out, so nothing was shown"
