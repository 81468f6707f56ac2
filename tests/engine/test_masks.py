"""Masks by context: what is kept, and that it is what was computed."""

from __future__ import annotations

import pickle
import random

import numpy as np

from engine.tokenizers.masks import MaskCache

ROWS = 1000


def mask_of(key: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(key).random(ROWS) < 0.3


def test_a_mask_is_the_same_packed_unpacked_and_computed_again() -> None:
    cache, rng = MaskCache(mask_of, packed=20 * ROWS // 8, near=4 * ROWS), random.Random(0)
    for _ in range(500):
        key = (rng.randrange(30), rng.randrange(2))
        found = cache(key)
        assert found.dtype == np.bool_ and np.array_equal(found, mask_of(key))


def test_what_is_kept_is_not_computed_again_and_the_least_recently_used_goes() -> None:
    cache = MaskCache(mask_of, packed=ROWS, near=2 * ROWS)
    for key in range(8):
        cache((key,))
    for key in (0, 5, 7, 0):
        cache((key,))
    assert cache.misses == 8
    cache((8,))  # 1 goes
    assert cache.misses == 9
    cache((0,)), cache((1,))
    assert cache.misses == 10


def test_a_mask_that_is_asked_for_again_and_again_stays_near() -> None:
    cache = MaskCache(mask_of, packed=ROWS, near=2 * ROWS)
    first = cache((0,))
    for key in range(1, 6):
        cache((key,))
        assert cache((0,)) is first


def test_it_is_kept_on_disk_without_what_it_holds() -> None:
    cache = MaskCache(mask_of, packed=ROWS)
    cache((1,))
    again = pickle.loads(pickle.dumps(cache))
    assert again.misses == 0 and np.array_equal(again((1,)), mask_of((1,)))
