"""Several models per byte: equal to mixing their enumerated distributions by hand, in both rules."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from engine.backends.base import StopSignal
from engine.backends.fake import FakeBackend
from engine.bytewise import ByteDecoder
from engine.cache import Scorer
from engine.completer import Completer
from engine.covers import STOP, CoverSpace
from engine.ensemble import Ensemble
from engine.errors import InputError
from engine.fim import Template
from engine.mixing import EnsembleState, Mix, Rule
from engine.model import Model
from engine.stop import Limits
from engine.tokenizers.byte_level import ByteLevelBPE
from engine.tokenizers.pretokenize import Pretokenizer
from engine.tree import TokenPath
from engine.types import Request
from engine.vocab import FloatArray, TokenKind, Vocab
from tests.engine.toy_models import ToyModel, enumerate_law
from tests.engine.toys import TOYS

LIMITS = Limits(max_tokens=60, max_lines=9)
PAIRS = [("chain", "nested"), ("chain", "no merges"), ("late parts", "added")]
CASES = list(product(PAIRS, ("mean", "product"), ((1.0, 1.0), (3.0, 1.0))))


@pytest.fixture(params=CASES, ids=lambda case: f"{'+'.join(case[0])}-{case[1]}-{case[2][0]:.0f}")
def case(request: pytest.FixtureRequest) -> tuple[list[ToyModel], Mix]:
    names, rule, weights = request.param
    return [ToyModel.random(TOYS[name], seed) for seed, name in enumerate(names)], Mix.of(2, rule, weights)


def mixed_by_hand(models: list[ToyModel], mix: Mix, text: bytes) -> FloatArray:
    """(257,) from enumeration, each model's distribution conditioned on canonical text."""
    shares = []
    for model in models:
        found = enumerate_law(model.toy, model.table, (model.toy.separator,), text, "canonical").shares
        shares.append(found / found.sum())
    if mix.rule == "mean":
        return sum((w * p for w, p in zip(mix.weights, shares, strict=True)), start=np.zeros(STOP + 1))
    raw = np.prod([p**w for w, p in zip(mix.weights, shares, strict=True)], axis=0)
    return np.asarray(raw / raw.sum())


def opened(models: list[ToyModel], mix: Mix, text: bytes) -> EnsembleState:
    return EnsembleState(mix, tuple(model.open(text) for model in models))


def asked_out(state: EnsembleState) -> EnsembleState:
    while state.shares.unknown > 0:
        state = state.ask()
    return state


def texts(models: list[ToyModel]) -> list[bytes]:
    alphabet = set(models[0].toy.alphabet) & set(models[1].toy.alphabet)
    return [text for text in models[0].toy.strings(4) if {bytes([b]) for b in text} <= alphabet][::4]


def test_the_mix_equals_mixing_by_hand(case: tuple[list[ToyModel], Mix]) -> None:
    models, mix = case
    for text in texts(models):
        shares = asked_out(opened(models, mix, text)).shares
        assert np.abs(shares.known - mixed_by_hand(models, mix, text)).max() < 1e-9, text
        assert shares.known.sum() == pytest.approx(1)


def test_what_is_unknown_bounds_every_symbol(case: tuple[list[ToyModel], Mix]) -> None:
    models, mix = case
    lazily = 0
    for text in texts(models):
        state = opened(models, mix, text[:1])
        for byte in text[1:]:
            state = state.push(byte)
        truth = mixed_by_hand(models, mix, text)
        while True:
            shares = state.shares
            lazily += shares.unknown > 0
            assert shares.certain_best() in (None, int(truth.argmax()))
            assert (shares.known <= truth + 1e-9).all() and shares.known.sum() + shares.unknown >= 1 - 1e-9
            if mix.rule == "mean":
                assert (shares.upper >= truth - 1e-9).all()
            if shares.unknown == 0:
                break
            state = state.ask()
    assert lazily


def test_greedy_takes_the_likeliest_mixed_byte(case: tuple[list[ToyModel], Mix]) -> None:
    models, mix = case
    for text in texts(models)[:6]:
        found, _ = ByteDecoder[EnsembleState](LIMITS).exact(opened(models, mix, text))
        for end in range(min(6, len(found.text))):
            best = int(mixed_by_hand(models, mix, text + found.text[:end]).argmax())
            assert found.text[end] == best, (text, found.text, end)


def test_bytewise_samples_follow_the_mixed_law() -> None:
    models = [ToyModel.random(TOYS["chain"], 0), ToyModel.random(TOYS["no merges"], 1)]
    mix, draws = Mix.of(2), 1500
    state = opened(models, mix, b"ab")
    decoder = ByteDecoder[EnsembleState](Limits(max_tokens=40, max_lines=1))
    first = Counter(decoder.sample_bytes(state, 1.0, seed).text[:1] for seed in range(draws))
    expected = asked_out(state).shares.known * draws
    observed = np.array([first[bytes([b])] for b in range(256)] + [first[b""]])
    used = expected > 0
    statistic = float(((observed - expected)[used] ** 2 / expected[used]).sum())
    assert not observed[~used].any()
    assert statistic < 16.3, "chi-square with 3 degrees of freedom, p = 0.001"


class Bigrams:
    """A learnt byte-level model: counts of byte pairs of a text, smoothed."""

    def __init__(self, text: bytes) -> None:
        counts = np.full((256, 258), 0.01)
        for pair in pairwise(text):
            counts[pair] += 1
        self._logs = np.log(counts / counts.sum(axis=1, keepdims=True))

    def __call__(self, path: TokenPath) -> FloatArray:
        return np.asarray(self._logs[path[-1]] if path[-1] < 256 else self._logs[0])

    def model(self) -> Model:
        kinds = [TokenKind.NORMAL] * 256 + [TokenKind.CONTROL] * 2
        vocab = Vocab([*(bytes([b]) for b in range(256)), b"", b""], kinds)
        tokenizer = ByteLevelBPE(vocab, [], Pretokenizer("none"))
        return Model("bigrams", tokenizer, Scorer(FakeBackend(self, 258)), Template("none"), (256,), 257)


def toy_model(name: str, seed: int) -> Model:
    return ToyModel.random(TOYS[name], seed).engine_model(Template("none"))


def test_a_byte_level_model_is_a_member_like_any_other() -> None:
    """No token holds two bytes, so its covers are one, and its next-byte law is its next-token law."""
    bigrams = Bigrams(b"abcabcaabca" * 20)
    space = CoverSpace(bigrams.model().tokenizer, bigrams.model().scorer, [256], StopSignal())
    state = space.open((257,), b"ab")
    assert len(state.covers()) == 1
    row = np.exp(bigrams((98,)))
    assert np.allclose(state.shares.known, row[: STOP + 1])
    request = Request(b"ab", max_tokens=6)
    alone = Ensemble([Completer(bigrams.model())], Mix.of(1)).complete(request, StopSignal())
    assert alone.completions[0].text.startswith(b"ca")
    pair = [Completer(bigrams.model()), Completer(toy_model("chain", 0))]
    both = Ensemble(pair, Mix.of(2, "mean", [50, 1])).complete(request, StopSignal())
    assert both.completions[0].text.startswith(b"ca") and both.model == "bigrams + toy"


@pytest.mark.parametrize("rule", ["mean", "product"])
def test_twice_the_same_model_completes_as_once(rule: Rule) -> None:
    request = Request(b"abca", max_tokens=20, max_lines=1, alternatives=3)
    one = Completer(toy_model("chain", 4)).complete(request, StopSignal())
    pair = [Completer(toy_model("chain", 4)) for _ in range(2)]
    twice = replace(request, max_tokens=40)
    two = Ensemble(pair, Mix.of(2, rule)).complete(twice, StopSignal())
    assert two.completions[0].text[:8] == one.completions[0].text[:8]
    assert two.certificate is not None and one.certificate is not None
    assert two.certificate.covers == 2 * one.certificate.covers


def test_a_member_that_cannot_express_a_byte_drops_out() -> None:
    models = [ToyModel.random(TOYS["chain"], 0), ToyModel.random(TOYS["late parts"], 1)]
    state = opened(models, Mix.of(2, "product"), b"ab").push(ord("c"))
    alone = opened(models[:1], Mix.of(1), b"ab").push(ord("c"))
    assert np.allclose(asked_out(state).shares.known, asked_out(alone).shares.known)
    assert opened(models, Mix.of(2), b"ab").push(0).shares.certain_best() == STOP


def test_mixes_that_make_no_sense() -> None:
    for weights, said in (([1.0], "1 weights for 2 models"), ([1.0, 0.0], "not all positive")):
        with pytest.raises(InputError, match=said):
            Mix.of(2, "mean", weights)
    ensemble = Ensemble([Completer(toy_model("chain", s)) for s in range(2)], Mix.of(2))
    with pytest.raises(InputError, match="needs a single model"):
        ensemble.complete(Request(b"ab", method="naive"), StopSignal())
    with pytest.raises(InputError, match="byte by byte"):
        ensemble.complete(Request(b"ab", temperature=1.0), StopSignal())
