"""Drafts change what a completion costs and never what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from engine.backends import native_weights
from engine.backends.base import StopSignal, alike_of
from engine.backends.fake import Table, random_table
from engine.backends.llama_cpp import LlamaCppBackend
from engine.backends.native import NativeBackend
from engine.cache import Scorer
from engine.completer import Completer
from engine.drafts.acceptance import BatchCosts
from engine.drafts.drafter import Drafter
from engine.fim import Template
from engine.model import Model, load_model, open_gguf
from engine.models.gguf import check
from engine.tree import TokenPath
from engine.types import Drafts, Request, Result
from engine.vocab import FloatArray
from tests.engine.backends.tiny_llama import CONTEXT, write_tiny_llama
from tests.engine.corpus import STDLIB
from tests.engine.models_of_tables import CODE, model_of, vocabulary
from tests.engine.toy_models import ToyModel
from tests.engine.toys import TOYS

METHODS: tuple[Drafts, ...] = get_args(Drafts)
DRAFTING = [method for method in METHODS if method not in ("auto", "off")]


class CheapRows(BatchCosts):
    """A row more costs a tenth of an evaluation, on every machine."""

    @property
    def slope(self) -> float:
        return 0.1 * self.of(1)


def drafting(model: Model) -> Model:
    """The model with a drafter of its own and no row cached."""
    drafter = Drafter(model.tokenizer.vocab.token_bytes, CheapRows(), alike=alike_of(model.backend))
    return replace(model, scorer=Scorer(model.backend, drafter=drafter))


def forgetful_table(size: int, seed: int, reach: int = 1) -> Table:
    """What follows depends on the last tokens only, so that what was seen once is seen again."""
    table = random_table(size, seed, sharpness=3)

    def row(path: TokenPath) -> FloatArray:
        return table(path[-reach:])

    return row


def said(model: Model, requests: list[Request]) -> list[Result]:
    completer = Completer(model)
    return [completer.complete(request, StopSignal()) for request in requests]


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("method", DRAFTING)
def test_toys_say_the_same_with_and_without(name: str, method: Drafts) -> None:
    """Greedy, alternatives, tokens, and every single sample."""
    toy, drafted = TOYS[name], 0
    model = ToyModel(toy, forgetful_table(toy.vocab_size, seed=3)).engine_model(Template("none"))
    plain, fast = drafting(model), drafting(model)
    for text in [b"", *toy.strings(2)][:5]:
        asked = [Request(text * 2, max_tokens=9, max_lines=9, drafts="off", path=name)]
        asked.append(replace(asked[0], alternatives=3))
        asked.append(replace(asked[0], method="naive"))
        asked += [replace(asked[0], temperature=1.0, seed=seed) for seed in range(5)]
        asked.append(replace(asked[0], temperature=1.0, method="bytewise"))
        without = said(plain, asked)
        found = said(fast, [replace(request, drafts=method) for request in asked])
        for before, after in zip(without, found, strict=True):
            assert [c.text for c in after.completions] == [c.text for c in before.completions], text
            assert [c.stop for c in after.completions] == [c.stop for c in before.completions]
            assert before.usage.drafted_tokens == 0
            drafted += after.usage.drafted_tokens
    assert drafted > 0


@pytest.mark.parametrize("method", DRAFTING)
def test_drafts_save_evaluations_where_the_model_repeats_itself(method: Drafts) -> None:
    size = len(vocabulary().tokenizer.vocab)
    model = model_of(forgetful_table(size, seed=25), order="none")
    requests = [Request(CODE[:end], max_tokens=24, max_lines=99) for end in range(20, 70)]
    without = said(drafting(model), [replace(request, drafts="off") for request in requests])
    found = said(drafting(model), [replace(request, drafts=method) for request in requests])
    before, after = (sum(r.usage.model_evaluations for r in results) for results in (without, found))
    accepted = sum(result.usage.accepted_tokens for result in found)
    print(f"{method}: {before} evaluations without, {after} with, {accepted} rows accepted")
    assert after <= before - accepted // 2 and accepted > 20
    assert [r.completions for r in found] == [r.completions for r in without]


def test_a_text_behind_the_cursor_is_looked_up() -> None:
    """The model says what stands behind the cursor, token by token; one evaluation is enough."""
    tokenizer = vocabulary().tokenizer
    behind = b"    return width * height\n"
    tokens = tokenizer.encode(behind)
    size = len(tokenizer.vocab)

    def row(path: TokenPath) -> FloatArray:
        """Sure of the next token of `behind`, wherever in it the path ends."""
        logs = np.full(size, -20.0)
        place = next((k for k in range(len(tokens) - 1, 0, -1) if path[-k:] == tokens[:k]), 0)
        logs[tokens[place]] = 0.0
        return logs - np.log(np.exp(logs).sum())

    model = drafting(model_of(row, order="none"))
    request = Request(b"x = 1\n    return", behind, drafts="lookup", max_tokens=20, suffix_scoring="off")
    (found,) = said(model, [request])
    assert found.completions[0].text == b" width * height"
    assert found.usage.accepted_tokens == found.usage.drafted_tokens == 3
    assert found.usage.model_evaluations == 1


def test_other_documents_are_looked_up_until_they_are_forgotten() -> None:
    """Bytes that the vocabulary lacks are passed over."""
    size = len(vocabulary().tokenizer.vocab)
    model = drafting(model_of(forgetful_table(size, seed=2), order="none"))
    completer = Completer(model)
    request = Request(b"x = 1\n\n\ndef area(", max_lines=9, max_tokens=1, drafts="lookup")
    drafted = []
    for text in (CODE + b"\xff", b""):
        completer.learn("other.py", text)
        (found,) = said(model, [request])
        drafted.append(found.usage.drafted_tokens)
        request = replace(request, prefix=b"y" + request.prefix)
    assert drafted[0] > 0 and drafted[1] == 0


def test_nothing_is_drafted_behind_the_last_line() -> None:
    size = len(vocabulary().tokenizer.vocab)
    model = drafting(model_of(forgetful_table(size, seed=2), order="none"))
    asked: list[TokenPath] = []
    drafter = model.scorer.drafter
    assert drafter is not None
    drafter.scored = lambda path, row: asked.append(path)  # type: ignore[method-assign]
    drafter.learn_text("other", vocabulary().tokenizer.encode(CODE))
    prefix = CODE[: CODE.index(b"width")]
    said(model, [Request(prefix, max_lines=1, drafts="lookup")])
    prompt = len(model.tokenizer.encode(prefix)) + 1
    drafted = [model.tokenizer.vocab.decode(path[prompt:]) for path in asked]
    assert any(b"width" in text for text in drafted)
    assert not any(b"\n" in text for text in drafted)


@pytest.mark.parametrize("method", DRAFTING)
def test_a_real_llama_says_the_same(method: Drafts, tmp_path: Path) -> None:
    """F32 weights, keys and values."""
    path = tmp_path / "tiny.gguf"
    write_tiny_llama(path)
    backend = LlamaCppBackend(path, context_length=CONTEXT, threads=1)
    model = model_of(order="psm")
    model = replace(model, scorer=Scorer(backend))
    requests = [Request(CODE[:end], CODE[end:], max_tokens=24, max_lines=99) for end in range(10, 80, 3)]
    without = said(drafting(model), [replace(request, drafts="off") for request in requests])
    found = said(drafting(model), [replace(request, drafts=method) for request in requests])
    assert [c.text for r in found for c in r.completions] == [c.text for r in without for c in r.completions]
    assert sum(result.usage.drafted_tokens for result in found) > 0
    backend.close()


def test_8_bit_weights_on_the_native_pass_say_the_same_to_the_bit(tmp_path: Path) -> None:
    """Texts and their probabilities, greedy and sampled: a row is the same in any batch."""
    path = tmp_path / "tiny.gguf"
    write_tiny_llama(path, eight_bits=True)
    gguf = check(path)
    if native_weights.why_not(gguf) == native_weights.NOT_BUILT:
        pytest.skip("no compiler, or no AVX2")
    backend = NativeBackend(native_weights.Loading(path, gguf, context_length=CONTEXT))
    model = replace(model_of(order="psm"), scorer=Scorer(backend))
    requests = [Request(CODE[:end], CODE[end:], max_tokens=24, max_lines=99) for end in range(10, 80, 3)]
    requests += [replace(request, temperature=1.0, seed=seed) for seed, request in enumerate(requests)]
    without, drafted = said(drafting(model), requests), 0
    for method in DRAFTING:
        found = said(drafting(model), [replace(request, drafts=method) for request in requests])
        assert [r.completions for r in found] == [r.completions for r in without]
        drafted += sum(result.usage.drafted_tokens for result in found)
    assert drafted > 20, "random weights say little that can be guessed"
    backend.close()


def test_auto_drafts_where_rows_are_the_same_in_any_batch(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny_llama(path, eight_bits=True)
    is_native = native_weights.why_not(check(path)) is None
    for backend, drafts in (("auto", is_native), ("llama.cpp", False)):
        model = open_gguf(path, name="tiny", backend=backend, context_length=CONTEXT)
        assert model.scorer.drafter is not None
        model.scorer.drafter.costs = CheapRows()
        requests = [Request(CODE[:end], CODE[end:], max_tokens=24, max_lines=99) for end in range(10, 80, 3)]
        results = said(model, [replace(request, drafts="auto") for request in requests])
        assert bool(sum(result.usage.drafted_tokens for result in results)) == drafts
        model.backend.close()


@pytest.fixture(scope="module", params=["smollm2-135m:f32", "smollm2-135m"])
def default_model(request: pytest.FixtureRequest) -> Iterator[Model]:
    """F32 weights, keys and values on llama.cpp; Q8_0 on the native forward pass, where there is one."""
    name = request.param
    if not name.endswith("f32") and not native_weights.known_instructions():
        pytest.skip("llama.cpp's rows differ by batch at Q8_0")
    loaded = load_model(name)
    yield loaded
    loaded.backend.close()


@pytest.mark.long
@pytest.mark.model
def test_the_default_model_says_the_same(default_model: Model) -> None:
    """On Python's own code."""
    requests = [
        Request(
            STDLIB[start : start + 1500], STDLIB[start + 1500 :][:1024], max_tokens=24, max_lines=3,
            suffix_scoring="off",
        )
        for start in range(20_000, 32_000, 2_000)
    ]  # fmt: skip
    plain, fast = drafting(default_model), drafting(default_model)
    without = said(plain, [replace(request, drafts="off") for request in requests])
    expected = [[completion.text for completion in result.completions] for result in without]
    assert sum(map(len, expected)) >= 4, "there is something to compare"
    for method in DRAFTING:
        found = said(fast, [replace(request, drafts=method) for request in requests])
        accepted = sum(result.usage.accepted_tokens for result in found)
        print(f"{method}: {accepted} rows accepted")
        assert [[c.text for c in r.completions] for r in found] == expected
    assert sum(result.usage.accepted_tokens for result in found) > 10
