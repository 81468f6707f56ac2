"""Middles by how well the suffix follows them: against enumeration on toys, and counted."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from engine import endings, frontier, suffix
from engine.backends.base import StopSignal
from engine.completer import Completer
from engine.covers import STOP
from engine.endings import JOIN_BOUND
from engine.errors import InputError
from engine.fim import Template
from engine.frontier import Canon
from engine.protocol import result_from_wire, result_to_wire
from engine.stop import Limits, whole_length
from engine.suffix import SuffixSearch, is_inside_line, join_of
from engine.tree import TokenPath
from engine.types import Certificate, Completion, Join, Request, Result, Usage
from tests.engine.toy_models import ToyModel, enumerate_law, resolved
from tests.engine.toys import TOYS

LONGEST = 3
"""Bytes of the middles that the reference tries."""


@pytest.fixture(params=TOYS)
def model(request: pytest.FixtureRequest) -> ToyModel:
    seed = 7 + list(TOYS).index(request.param)
    print(f"toy {request.param!r}, seed {seed}")
    return ToyModel.random(TOYS[request.param], seed)


def true_j(model: ToyModel, tail: bytes, middle: bytes, join: bytes, *, with_stop: bool) -> float:
    """J by its definition, from all covers of the whole text."""
    fixed = (model.toy.separator,)
    start = enumerate_law(model.toy, model.table, fixed, tail, "canonical").log_total
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = enumerate_law(model.toy, model.table, fixed, tail + middle + join, "canonical").log_total
        total = np.exp(whole - start)
        if with_stop:
            read = enumerate_law(model.toy, model.table, fixed, tail + middle, "canonical")
            total += np.nan_to_num(np.exp(read.log_total - start) * read.shares[STOP])
        return float(np.log(total))


def cases(model: ToyModel) -> list[tuple[bytes, bytes]]:
    """Tails and joins."""
    strings = list(model.toy.strings(2))
    return [(strings[k], strings[-1 - 2 * k]) for k in range(2 if len(strings) < 16 else 1)]


def searched(
    model: ToyModel, tail: bytes, join: bytes, *, with_stop: bool, count: int = 1, lines: int = 9
) -> tuple[list[Completion], Join]:
    state = model.open(tail)
    return SuffixSearch(state.space, Limits(6, lines), tail, join, with_stop).search(state, count)


def search_everything(patch: pytest.MonkeyPatch) -> None:
    """No budget, and no guess about what is worth looking at."""
    for name in ("SEARCH_ROWS", "SEARCH_EVALUATIONS", "FIRST_ROWS", "VAIN_ROWS"):
        patch.setattr(suffix, name, 100_000)
    patch.setattr(suffix, "DOUBT_NATS", np.inf)


@pytest.mark.parametrize("with_stop", [False, True])
def test_the_best_middle_is_the_best_of_all(
    model: ToyModel, with_stop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_everything(monkeypatch)
    monkeypatch.setattr(endings, "JOIN_BOUND", 0.0)
    for tail, join in cases(model):
        found, joined = searched(model, tail, join, with_stop=with_stop)
        middles = [m for m in model.toy.strings(LONGEST) if whole_length(m) == len(m)]
        truth = {m: true_j(model, tail, m, join, with_stop=with_stop) for m in middles}
        best = max(truth, key=lambda m: truth[m])
        if truth[best] == -np.inf:
            continue
        assert found[0].logp == pytest.approx(
            true_j(model, tail, found[0].text, join, with_stop=with_stop), abs=1e-6
        ), (tail, join)
        assert found[0].text == best or found[0].logp >= truth[best] - 1e-9, (tail, join)
        assert joined.open_logp is None or joined.open_logp <= found[0].logp + 1e-9
        nothing = true_j(model, tail, b"", join, with_stop=with_stop)
        reported = joined.nothing_logp if joined.nothing_logp is not None else -np.inf
        assert nothing - 1e-6 <= reported
        assert reported == pytest.approx(nothing, abs=1e-6) or reported <= found[0].logp


def test_alternatives_are_the_best_ones_in_order(model: ToyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    search_everything(monkeypatch)
    tail, join = cases(model)[0]
    middles = [m for m in model.toy.strings(LONGEST) if whole_length(m) == len(m)]
    found, _ = searched(model, tail, join, with_stop=False, count=min(3, sum(map(bool, middles))))
    truth = sorted((true_j(model, tail, m, join, with_stop=False) for m in middles), reverse=True)
    assert len({c.text for c in found}) == len(found)
    assert [c.logp for c in found] == sorted((c.logp for c in found), reverse=True)
    for rank, completion in enumerate(found):
        assert completion.logp >= truth[rank] - 2 * JOIN_BOUND


def test_a_budget_bounds_the_questions_and_the_bound_stays_true(model: ToyModel) -> None:
    for tail, join in cases(model):
        state = model.open(tail)
        backend = state.space.scorer.backend
        before = backend.evaluations
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(suffix, "SEARCH_EVALUATIONS", 5)
            found, joined = SuffixSearch(state.space, Limits(6, 9), tail, join, False).search(state, 1)
        assert backend.evaluations - before <= 5
        middles = [m for m in model.toy.strings(LONGEST) if whole_length(m) == len(m)]
        best = max(true_j(model, tail, m, join, with_stop=False) for m in middles)
        assert max([joined.open_logp or -np.inf, *(c.logp for c in found)]) >= best - JOIN_BOUND


def searches(**settings: float) -> list[tuple[SuffixSearch, list[Completion]]]:
    """Finished ones, each on a toy of its own, with other constants."""
    done = list[tuple[SuffixSearch, list[Completion]]]()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setattr(suffix, name, value)
        for seed in range(10):
            model = ToyModel.random(TOYS["contractions of two letters"], seed)
            tail, join = cases(model)[0]
            search = SuffixSearch(model.open(tail).space, Limits(6, 9), tail, join, False)
            done.append((search, search.search(model.open(tail), 1)[0]))
    return done


def test_an_ending_is_known_before_the_texts_use_up_the_budget() -> None:
    """What goes on longest joins nothing: shown, it would only stand before the suffix."""
    few = {"SEARCH_ROWS": 6, "ROUND_ROWS": 1}
    assert sum(not found or found[0].stop == "tokens" for _, found in searches(**few)) >= 5
    assert all(found[0].stop == "end-of-middle" for _, found in searches(**few, FIRST_ROWS=2))


def test_rows_in_vain_end_the_search() -> None:
    settings = {"DOUBT_NATS": np.inf, "ROUND_ROWS": 1}
    assert any(s._rows - s._rows_of_best > 3 for s, _ in searches(**settings))
    assert all(s._rows - s._rows_of_best <= 3 for s, _ in searches(**settings, VAIN_ROWS=3))


def test_what_the_cache_holds_already_changes_no_answer(model: ToyModel) -> None:
    for tail, join in cases(model):
        state = model.open(tail)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(suffix, "SEARCH_EVALUATIONS", 4)
            first, again = (
                SuffixSearch(state.space, Limits(6, 9), tail, join, True).search(state, 2) for _ in range(2)
            )
        assert again == first


def test_what_may_follow_is_asked_once_for_each_end_of_the_tokens(
    model: ToyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts tried beside each other differ far before the join: most of what they ask was asked already."""
    tokenizer, asked = model.toy.tokenizer, Counter[tuple[object, bytes]]()
    find = Canon._find_goes_on

    def counted(canon: Canon, tokens: TokenPath, text: bytes) -> bool:
        asked[tokenizer.context_end(tokens), text] += 1
        return find(canon, tokens, text)

    monkeypatch.setattr(frontier, "NATIVE", None)
    monkeypatch.setattr(Canon, "_find_goes_on", counted)
    for tail, join in cases(model):
        asked.clear()
        searched(model, tail, join, with_stop=True, count=2)
        assert set(asked.values()) <= {1}


def test_what_is_open_is_put_in_order_again_only_when_the_outlook_changes(
    model: ToyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlooks, orders = list[tuple[float, list[float]]](), list[int]()
    gather, outlook, heap = SuffixSearch._gather, SuffixSearch._outlook, SuffixSearch._heap
    monkeypatch.setattr(
        SuffixSearch, "_outlook", lambda *given: outlooks.append(outlook(*given)) or outlooks[-1]
    )
    monkeypatch.setattr(SuffixSearch, "_heap", lambda *given: orders.append(0) or heap(*given))

    def gathered(search: SuffixSearch, count: int) -> list[TokenPath]:
        outlooks.clear()
        orders.clear()
        found = gather(search, count)
        assert len(orders) == 1 + sum(before != after for before, after in pairwise(outlooks))
        return found

    monkeypatch.setattr(SuffixSearch, "_gather", gathered)
    for tail, join in cases(model):
        searched(model, tail, join, with_stop=True)


def test_what_may_follow_depends_on_the_end_of_the_tokens_alone(model: ToyModel) -> None:
    tokenizer, random = model.toy.tokenizer, np.random.default_rng(11)
    for _ in range(30):
        tokens: TokenPath = ()
        for _ in range(14):
            end = tokenizer.context_end(tokens)
            allowed = tokenizer.successors(tokens)
            assert (allowed == tokenizer.successors(end)).all(), tokens
            if not allowed.any():
                break
            token = int(random.choice(tokenizer.vocab.order[allowed]))
            tokens = (*tokens, token)
            assert (tokenizer.successors(tokens) == tokenizer.successors((*end, token))).all(), tokens


def test_a_deadline_ends_the_search_with_what_is_known(model: ToyModel) -> None:
    tail, join = cases(model)[0]
    state = model.open(tail)
    limits = Limits(6, 9, lambda: True)
    before = state.space.scorer.backend.evaluations
    SuffixSearch(state.space, limits, tail, join, False).search(state, 2)
    assert state.space.scorer.backend.evaluations <= before + 1


def test_mass_is_that_of_the_law(model: ToyModel) -> None:
    for tail, join in cases(model):
        state = resolved(model.open(tail).read(join))
        truth = enumerate_law(model.toy, model.table, (model.toy.separator,), tail + join, "canonical")
        if not truth.covers:
            assert state.log_total == -np.inf
        else:
            assert state.log_total + model.log_probability(state.fixed) == pytest.approx(truth.log_total)


@pytest.mark.parametrize(
    ("text", "join", "inside"),
    [
        (b"", b"", False),
        (b")", b")", True),
        (b")\nx", b")\n", True),
        (b"\n    return x\n  y", b"\n    return x\n", False),
        (b"  \n\n  \nend", b"  \n\n  \nend", False),
        (b"x" * 60 + b"\n", b"x" * 48, True),
        ("é".encode() * 30, "é".encode() * 24, True),
        (b"x" + "é".encode() * 30, b"x" + "é".encode() * 23, True),
        (b"a\xffb\n", b"a", True),
        (b"\xffb\n", b"", True),
        (b"\r\nx\r\n", b"\r\nx\r\n", False),
    ],
)
def test_the_join(text: bytes, join: bytes, inside: bool) -> None:
    assert join_of(text, frozenset([0xFF])) == join
    assert is_inside_line(text) == inside


# -- through the completer ------------------------------------------------------------------------

CHAIN = ToyModel.random(TOYS["chain"], 3)


def complete(**fields: object) -> Result:
    completer = Completer(CHAIN.engine_model(Template("none")))
    request = Request(**{"prefix": b"ab", "suffix": b"ca", "max_tokens": 6, "max_lines": 9} | fields)  # type: ignore[arg-type]
    return completer.complete(request, StopSignal())


def test_auto_scores_inside_a_line_and_off_never() -> None:
    result = complete()
    assert result.join is not None and result.join.suffix_bytes == 2
    greedy = complete(suffix_scoring="off")
    assert greedy.join is None
    assert result_from_wire(result_to_wire(result)) == result
    assert result_from_wire(result_to_wire(greedy)) == greedy


def test_other_methods_are_not_scored_and_on_is_refused_there() -> None:
    for fields in ({"method": "naive"}, {"method": "bytewise", "temperature": 1.0}):
        assert complete(**fields).join is None
        with pytest.raises(InputError, match="needs the method 'exact'"):
            complete(**fields, suffix_scoring="on")
    with pytest.raises(InputError, match="expected one of auto, on, off"):
        complete(suffix_scoring="yes")


def test_the_chosen_text_joins_better_than_the_greedy_one() -> None:
    """Over all seeds at least some texts change, and none joins worse."""
    changed = 0
    for seed in range(12):
        toy = ToyModel.random(TOYS["nested"], seed)
        completer = Completer(toy.engine_model(Template("none")))
        request = Request(prefix=b"a", suffix=b"b", max_tokens=5, max_lines=9)
        scored = completer.complete(request, StopSignal())
        plain = completer.complete(
            Request(prefix=b"a", suffix=b"b", max_tokens=5, max_lines=9, suffix_scoring="off"), StopSignal()
        )
        if not plain.completions:
            continue
        ours, theirs = scored.completions[0].text, plain.completions[0].text
        changed += ours != theirs
        gain = true_j(toy, b"a", ours, b"b", with_stop=False) - (
            true_j(toy, b"a", theirs[:12], b"b", with_stop=False) if len(theirs) <= 12 else -np.inf
        )
        assert gain >= -JOIN_BOUND, seed
    assert changed >= 3


def result(best: float, nothing: float | None) -> Result:
    usage = Usage(*(1 for _ in dataclasses.fields(Usage)))
    certificate = Certificate("canonical", 1, 1, 0.0, 0.0)
    texts = (Completion(b"x", best, "end-of-middle"), Completion(b"y", best - 1, "end-of-middle"))
    return Result(texts, certificate, usage, "toy", Join(1, 3, nothing, None))


def test_nothing_is_shown_where_nothing_is_missing() -> None:
    assert result(-4.0, -1.5).shown == result(-4.0, -1.5).completions
    assert result(-5.0, -1.5).shown == ()
    assert len(result(-5.0, None).shown) == 2
