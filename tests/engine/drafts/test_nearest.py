"""What followed the places that the model sees like the end of a path."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from engine.drafts.acceptance import BatchCosts
from engine.drafts.drafter import Brief, Drafter, Root
from engine.drafts.nearest import MOST_GUESSES, Places, behind, followed, weighed
from engine.tree import TokenPath
from engine.types import Drafts


def cheap_rows() -> BatchCosts:
    """Seven rows more cost a twentieth of an evaluation."""
    costs = BatchCosts()
    for _ in range(200):
        costs.note(1, 10.0)
        costs.note(8, 10.5)
    return costs


def test_a_greater_cosine_weighs_more_and_the_greatest_weighs_one() -> None:
    (_, most), (_, less), (_, least) = weighed([(3, 1.0), (5, 0.9), (9, -1.0)])
    assert most == 1 and 6 < most / less < 9 and 0 < least < 1e-15


def test_places_are_followed_as_far_as_the_path_says_the_same() -> None:
    """Against all places, looked at one by one, on random paths of two tokens."""
    rng = random.Random(0)
    for _ in range(300):
        path: TokenPath = tuple(rng.randrange(2) for _ in range(rng.randrange(2, 12)))
        weights = {at: rng.random() for at in range(1, len(path) - 1) if path[at] == path[-1]}
        places: Places = list(weights.items())
        start = len(path)
        for _ in range(4):
            shares: dict[int, float] = defaultdict(float)
            for at, weight in weights.items():
                end = at + len(path) - start
                if path[at : end + 1] == path[start - 1 :]:
                    shares[path[end + 1]] += weight
            whole = sum(shares.values())
            expected = {token: pytest.approx(share / whole) for token, share in shares.items()}
            assert followed(path, places) == expected
            path = (*path, rng.randrange(2))
            places = behind(path, places)


def test_the_few_with_the_greatest_weight_are_guessed() -> None:
    path = (7, 1, 7, 2, 7, 3, 7, 2, 7)
    assert len({1, 2, 3}) > MOST_GUESSES
    found = followed(path, [(0, 0.1), (2, 0.3), (4, 0.2), (6, 0.4)])
    assert list(found) == [2, 3] and found == {2: pytest.approx(0.7), 3: pytest.approx(0.2)}


@pytest.mark.parametrize(("drafts", "expected"), [("nearest", 4), ("lookup", 6)])
def test_the_model_s_own_view_decides_between_places_where_the_same_was_said(
    drafts: Drafts, expected: int
) -> None:
    """6 followed twice as often, but only the place that 4 followed looks to the model like the end."""
    path = (1, 2, 6, 9, 1, 2, 4, 9, 1, 2, 6, 9, 8, 1, 2)

    def alike(of: TokenPath) -> Places:
        return [(1, 0.1), (5, 0.9), (9, 0.1)] if of == path else []

    drafter = Drafter([b"x"] * 10, cheap_rows(), alike=alike)
    drafter.begin(Brief(method=drafts, name="a.py", prompt=path, max_lines=9))
    (first, *_) = drafter.draft([Root(path)], lambda _: False, lambda _: True)
    assert first == (*path, expected)


def test_what_every_path_begins_with_may_be_all_of_a_path() -> None:
    """The row behind it may be asked for more than once, and its guesses stay open until one is."""
    path = (1, 2, 3, 1, 2, 3)
    drafter = Drafter([b"x"] * 10, cheap_rows())
    drafter.begin(Brief(method="lookup", name="a.py", prompt=path, fixed=len(path), max_lines=9))
    found = drafter.draft([Root(path)], lambda _: False, lambda _: True)
    assert found[0] == (*path, 1)
    drafter.asked(path)
    drafter.asked(path)
    assert drafter.accepted == 0
    drafter.asked(found[0])
    assert drafter.accepted == 1
