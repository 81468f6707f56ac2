"""Keystrokes in whole prompts: what each one asks of the model, and that a rebuild says the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest

from engine import covers
from engine.backends.base import StopSignal
from engine.backends.fake import random_table
from engine.cache import Scorer
from engine.completer import Completer
from engine.covers import CoverState
from engine.errors import DownloadError
from engine.fim import Template
from engine.model import Model
from engine.models import store
from engine.models.gguf import read_metadata
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.gguf_family import tokenizer_from_metadata
from engine.types import Request
from tests.engine.corpus import CODE, STDLIB, TORTURE
from tests.engine.toy_models import CountingBackend
from tests.engine.vocabularies import trained

ORDERS = {
    "none": Template("none"),
    "psm": Template("psm", (), (0,), (1,), (2,)),
    "spm": Template("spm", (), (), (0,), (1,)),
}
"""Any tokens do as sentinels: what is counted does not depend on which they are."""
PREFIX, SUFFIX = STDLIB[2000:3500], STDLIB[5000:5400]


@cache
def trained_here() -> Tokenizer:
    return trained("starcoder", CODE * 4 + TORTURE + STDLIB[:4000], merges=400).tokenizer


@cache
def default_model() -> Tokenizer:
    try:
        return tokenizer_from_metadata(read_metadata(store.resolve().path))
    except DownloadError as error:
        pytest.skip(str(error))


@pytest.fixture(params=[trained_here, pytest.param(default_model, marks=pytest.mark.model)])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    make: Callable[[], Tokenizer] = request.param
    return make()


def completer(tokenizer: Tokenizer, order: str) -> Completer:
    size = len(tokenizer.vocab)
    backend = CountingBackend(random_table(size, seed=4), size)
    return Completer(Model("fake", tokenizer, Scorer(backend), ORDERS[order], (3,), 4))


def opened(completer: Completer, prefix: bytes) -> CoverState:
    return completer.open(Request(prefix, SUFFIX), StopSignal())[1]


def keystrokes(rng: random.Random) -> Iterator[tuple[bytes, bool]]:
    """The text before the cursor after each, and whether it deleted: lines of code with typing errors."""
    text = PREFIX[: PREFIX.rindex(b"\n") + 1]
    for byte in STDLIB[3500:3620] + TORTURE[:30]:
        wrong = rng.choice([b"", b"", b"", b"", b"x", b"  ", b"tr"])
        for end in range(1, len(wrong) + 1):
            yield text + wrong[:end], False
        for end in reversed(range(len(wrong))):
            yield text + wrong[:end], True
        text += bytes([byte])
        yield text, False


@pytest.mark.parametrize("order", ORDERS)
def test_a_keystroke_asks_for_the_bytes_exact_covers_and_backspace_for_nothing(
    tokenizer: Tokenizer, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In PSM the anchor moves with a new line; then the open part of its tail is scored anew."""
    monkeypatch.setattr(covers, "DROPPED_BOUND", 0.0)
    complete = completer(tokenizer, order)
    backend = complete.model.backend
    assert isinstance(backend, CountingBackend)
    opened(complete, PREFIX[: PREFIX.rindex(b"\n") + 1])
    for prefix, deleted in keystrokes(random.Random(3)):
        before = backend.contexts, backend.evaluations
        prompt, _ = complete.open(Request(prefix, SUFFIX), StopSignal())
        contexts, evaluations = backend.contexts - before[0], backend.evaluations - before[1]
        most = 0 if deleted else len(tokenizer.encodings(prompt.tail))
        if order != "psm" or not prefix.endswith(b"\n"):
            assert contexts <= most and evaluations <= (most > 0), prefix[-20:]


@pytest.mark.parametrize("order", ORDERS)
def test_after_any_keystrokes_a_rebuild_says_the_same(tokenizer: Tokenizer, order: str) -> None:
    rng = random.Random(6)
    complete = completer(tokenizer, order)
    for count, (prefix, _) in enumerate(keystrokes(rng)):
        state = opened(complete, prefix)
        assert state.shares.unknown <= covers.DROPPED_BOUND
        if count % 8 == 0:
            fresh = opened(completer(tokenizer, order), prefix)
            assert fresh.shares.unknown == 0
            off = np.abs(state.shares.known - fresh.shares.known).sum()
            assert off <= 2 * state.shares.unknown + 1e-9, prefix[-20:]
            if not state.pending:
                assert len(state.covers()) == len(fresh.covers())
