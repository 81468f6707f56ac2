"""What was seen behind which tokens, and for how long it is kept."""

from __future__ import annotations

import numpy as np
import pytest

from engine.drafts.seen import MOST_GUESSES, Seen, drawn, likely_tokens


def test_recycling_keeps_the_last_time_behind_one_token() -> None:
    seen = Seen(longest=1)
    seen.learn((1, 2), {5: 0.9})
    seen.learn((3, 2), {6: 0.7})
    assert seen.after((1, 2)) == (1, {6: 0.7})
    assert seen.after((9,)) == (0, {})


def test_the_longest_beginning_decides_and_times_are_averaged() -> None:
    seen = Seen(longest=3)
    seen.learn((1, 2), {5: 0.8})
    seen.learn((1, 2), {6: 0.4, 5: 0.2})
    seen.learn((3, 2), {7: 1.0})
    length, likely = seen.after((0, 1, 2))
    assert length == 2 and likely == {5: pytest.approx(0.5), 6: pytest.approx(0.2)}
    assert seen.after((8, 2))[0] == 1


def test_the_oldest_keys_go() -> None:
    seen = Seen(longest=1, most_keys=2)
    for token in (1, 2, 1, 3):
        seen.learn((token,), {0: 0.5})
    assert seen.after((2,)) == (0, {}) and seen.after((1,))[0] == seen.after((3,))[0] == 1


def test_likely_tokens_are_few_and_in_order() -> None:
    shares = np.full(100, 0.2 / 80)
    shares[:20] = 0.04
    shares[[7, 3]] = 0.3, 0.2
    assert list(likely_tokens(np.log(shares))) == [7, 3]
    assert len(likely_tokens(np.log(np.full(10, 0.1)))) == MOST_GUESSES


def test_tokens_are_drawn_in_proportion_to_their_probabilities() -> None:
    random, draws = np.random.default_rng(5), 4000
    likely = {1: 0.5, 2: 0.3, 3: 0.2}
    pairs = [tuple(drawn(likely, 2, random)) for _ in range(draws)]
    for first, share in likely.items():
        assert sum(pair[0] == first for pair in pairs) / draws == pytest.approx(share, abs=0.03)
    second = sum(pair == (1, 2) for pair in pairs) / draws
    assert second == pytest.approx(0.5 * 0.3 / 0.5, abs=0.03)
    assert drawn({}, 2, random) == {}
