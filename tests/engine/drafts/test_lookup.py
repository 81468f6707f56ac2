"""The index of texts: longest matches, texts that change, texts that must go."""

from __future__ import annotations

import random

import pytest

from engine.drafts import lookup as lookup_module
from engine.drafts.lookup import LONGEST_MATCH, WEIGHT_OF_LENGTH, Lookup


def slow_after(texts: dict[str, list[int]], history: list[int], least: int) -> dict[int, tuple[int, float]]:
    """Longest match and summed weights by token, by trying every place of every text."""
    found: dict[int, tuple[int, float]] = {}
    for text in texts.values():
        for end in range(len(text) - 1):
            length = 0
            while length < min(end + 1, len(history)) and text[end - length] == history[-1 - length]:
                length += 1
            if length >= least:
                length = min(length, LONGEST_MATCH)
                longest, weight = found.get(text[end + 1], (0, 0.0))
                found[text[end + 1]] = max(longest, length), weight + WEIGHT_OF_LENGTH**length
    return found


def test_it_finds_what_a_search_of_every_place_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts change in their middle and are learned again. Single tokens count only where no pair is found."""
    monkeypatch.setattr(lookup_module, "PLACES", 1000)
    rng = random.Random(1)
    lookup, texts, single = Lookup(), dict[str, list[int]](), 0
    for _ in range(300):
        name = rng.choice("abc")
        text = texts.get(name, [])[: rng.randrange(30)] + [rng.randrange(20) for _ in range(rng.randrange(8))]
        texts[name] = text
        lookup.learn(name, text)
        history = [rng.randrange(20) for _ in range(2)] + text[-rng.randrange(1, 8) :]
        pairs = slow_after(texts, history, 2)
        expected = pairs or slow_after(texts, history, 1)
        whole = sum(weight for _, weight in expected.values())
        found = {each.token: (each.length, pytest.approx(each.share)) for each in lookup.after(history)}
        assert {token: (n, weight / whole) for token, (n, weight) in expected.items()} == found
        single += bool(expected and not pairs)
    assert single > 20


def said(lookup: Lookup, history: list[int]) -> list[tuple[int, int]]:
    return [(each.token, each.length) for each in lookup.after(history)]


def test_the_longest_match_comes_first_and_those_that_agree_share_most() -> None:
    lookup = Lookup()
    lookup.learn("a", [1, 2, 3, 4, 9, 2, 3, 5])
    assert said(lookup, [1, 2, 3]) == [(4, 3), (5, 2)]
    assert said(lookup, [9, 2, 3]) == [(5, 3), (4, 2)]
    assert sorted(said(lookup, [7, 3])) == sorted(said(lookup, [3])) == [(4, 1), (5, 1)]
    lookup.learn("b", [8, 3, 5, 0, 6, 3, 5])
    shares = {each.token: each.share for each in lookup.after([7, 3])}
    assert shares[5] == pytest.approx(0.75) and shares[4] == pytest.approx(0.25)
    assert lookup.after([]) == lookup.after([7]) == []


def test_a_typed_token_costs_one_place_however_long_the_text_is() -> None:
    lookup = Lookup()
    text = list(range(1000))
    lookup.learn("a", text)
    before = lookup._indexed
    lookup.learn("a", [*text, 5])
    assert lookup._indexed == before + 1


def test_tokens_that_are_known_to_be_the_same_need_no_comparison() -> None:
    """What is known is not looked at, nor is it believed beyond the text that was learned."""
    plain, told = Lookup(), Lookup()
    for text, known in (
        ([1, 2, 3, 1, 2], 9),
        ([1, 2, 3, 1, 2, 4, 1], 5),
        ([1, 2, 3, 7, 1, 2], 3),
        ([1, 2], 5),
    ):
        plain.learn("a", text)
        told.learn("a", text, known)
        assert told._texts["a"] == text and told._indexed == plain._indexed
        assert told.after([1, 2]) == plain.after([1, 2])


def test_the_oldest_text_goes_and_what_is_held_stays_bounded() -> None:
    lookup = Lookup(most_tokens=100)
    for number in range(50):
        lookup.learn(f"text {number}", range(number * 40, number * 40 + 40))
        assert lookup._held <= 100 and len(lookup._places) <= 2 * 300
    assert said(lookup, [49 * 40, 49 * 40 + 1]) == [(49 * 40 + 2, 2)]
    assert lookup.after([0, 1]) == []


def test_a_forgotten_text_is_not_found() -> None:
    lookup = Lookup()
    lookup.learn("a", [1, 2, 3])
    lookup.learn("b", [4, 2, 5])
    lookup.forget("a")
    lookup.forget("never learned")
    assert said(lookup, [1, 2]) == [(5, 1)] and lookup._held == 3
    lookup.learn("a", [7, 8, 9])
    assert said(lookup, [7, 8]) == [(9, 2)]
