"""The index of texts: longest matches, texts that change, texts that must go."""

from __future__ import annotations

import random

from engine.drafts.lookup import LONGEST_MATCH, Lookup


def slow_after(texts: dict[str, list[int]], history: list[int]) -> dict[int, int]:
    """By trying every place of every text."""
    found: dict[int, int] = {}
    for text in texts.values():
        for end in range(len(text) - 1):
            length = 0
            while length < min(end + 1, len(history)) and text[end - length] == history[-1 - length]:
                length += 1
            if length > 1:
                found[text[end + 1]] = max(found.get(text[end + 1], 0), min(length, LONGEST_MATCH))
    return found


def test_it_finds_what_a_search_of_every_place_finds() -> None:
    rng = random.Random(1)
    lookup, texts = Lookup(), dict[str, list[int]]()
    for _ in range(200):
        name = rng.choice("abc")
        text = texts.get(name, [])[: rng.randrange(40)] + [rng.randrange(9) for _ in range(rng.randrange(8))]
        texts[name] = text
        lookup.learn(name, text)
        history = [rng.randrange(9) for _ in range(2)] + text[-rng.randrange(1, 8) :]
        assert dict(lookup.after(history)) == slow_after(texts, history)


def test_the_longest_match_comes_first() -> None:
    lookup = Lookup()
    lookup.learn("a", [1, 2, 3, 4, 9, 2, 3, 5])
    assert lookup.after([1, 2, 3]) == [(4, 3), (5, 2)]
    assert lookup.after([9, 2, 3]) == [(5, 3), (4, 2)]
    assert lookup.after([3]) == lookup.after([7, 3]) == []


def test_a_typed_token_costs_one_place_however_long_the_text_is() -> None:
    lookup = Lookup()
    text = list(range(1000))
    lookup.learn("a", text)
    before = lookup._indexed
    lookup.learn("a", [*text, 5])
    assert lookup._indexed == before + 1


def test_the_oldest_text_goes_and_what_is_held_stays_bounded() -> None:
    lookup = Lookup(most_tokens=100)
    for number in range(50):
        lookup.learn(f"text {number}", range(number * 40, number * 40 + 40))
        assert lookup._held <= 100 and len(lookup._places) <= 300
    assert lookup.after([49 * 40, 49 * 40 + 1]) == [(49 * 40 + 2, 2)]
    assert lookup.after([0, 1]) == []


def test_a_forgotten_text_is_not_found() -> None:
    lookup = Lookup()
    lookup.learn("a", [1, 2, 3])
    lookup.learn("b", [4, 2, 5])
    lookup.forget("a")
    lookup.forget("never learned")
    assert lookup.after([1, 2]) == [] and lookup._held == 3
    lookup.learn("a", [7, 8, 9])
    assert lookup.after([7, 8]) == [(9, 2)]
