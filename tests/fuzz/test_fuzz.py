"""Half a minute of fuzzing with a new seed each time; `make fuzz` takes ten."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.__main__ import fuzz

SECONDS = 30


@pytest.mark.e2e
def test_half_a_minute_of_random_sessions_finds_nothing() -> None:
    seed = random.SystemRandom().randrange(10**9)
    print(f"seeds from {seed} on")
    count, failed = fuzz(seed, SECONDS)
    assert failed is None, f"seed {failed}, see above"
    assert count > 3
