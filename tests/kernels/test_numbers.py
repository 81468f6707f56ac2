"""The native kernels on numbers: log-softmax, sorted weights, sums by byte."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine_kernels import numpy_reference as reference

INF = float("inf")
LOGITS = st.floats(-1e4, 1e4, width=32) | st.just(-INF)
LOGS = st.floats(-2000, 0) | st.just(-INF)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal up to a relative 1e-12, zeros and infinities exactly."""
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)


@settings(deadline=None)
@given(logits=arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 70)), elements=LOGITS))
def test_log_softmax(native: ModuleType, logits: np.ndarray) -> None:
    logits[:, -1] = np.maximum(logits[:, -1], -100)
    found = native.log_softmax(logits)
    expected = reference.log_softmax(logits)
    assert (np.isneginf(found) == np.isneginf(logits)).all()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("vocab", [1, 7, 511, 512, 513, 49_152])
@pytest.mark.parametrize("rows", [1, 3])
def test_log_softmax_of_a_vocabulary(native: ModuleType, rows: int, vocab: int) -> None:
    logits = np.random.default_rng(vocab).normal(0, 8, (rows, vocab)).astype(np.float32)
    found, expected = native.log_softmax(logits), reference.log_softmax(logits)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    apart = [reference.log_softmax(logits[row : row + 1])[0] for row in range(rows)]
    np.testing.assert_array_equal(expected, apart)


@pytest.mark.parametrize("bad", [[0.0, np.nan, 1.0], [np.nan] * 3, [INF, 0.0, 1.0], [-INF] * 3])
@pytest.mark.parametrize("place", [0, 1])
def test_rows_without_a_distribution_are_refused(native: ModuleType, bad: list[float], place: int) -> None:
    logits = np.zeros((2, 700), dtype=np.float32)
    logits[place] = np.resize(np.array(bad, dtype=np.float32), 700)
    for kernels in (native, reference):
        with pytest.raises(ValueError, match="NaN"):
            kernels.log_softmax(logits)


@settings(deadline=None)
@given(row=arrays(np.float64, st.integers(0, 200), elements=LOGS | st.floats(-12, 0) | st.just(np.nan)))
def test_likeliest(native: ModuleType, row: np.ndarray) -> None:
    for found, expected in zip(native.likeliest(row), reference.likeliest(row), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("many", [reference.TOO_MANY - 1, reference.TOO_MANY])
def test_too_many_are_no_glance(native: ModuleType, many: int) -> None:
    row = np.full(9000, -50.0)
    row[-many:] = -9.0
    for kernels in (native, reference):
        assert len(kernels.likeliest(row)[0]) == (many if many < reference.TOO_MANY else 0)


@settings(deadline=None)
@given(st.data())
def test_sorted_weights(native: ModuleType, data: st.DataObject) -> None:
    row = data.draw(arrays(np.float64, st.integers(1, 60), elements=LOGS))
    order = data.draw(arrays(np.int64, st.integers(0, 90), elements=st.integers(0, len(row) - 1)))
    allowed = data.draw(arrays(np.bool_, len(order)))
    found = native.sorted_weights(row, order, allowed)
    assert_close(found, reference.sorted_weights(row, order, allowed))
    assert (found[~allowed] == 0).all() and (found[row[order] < reference.LEAST_LOG] == 0).all()


@settings(deadline=None)
@given(st.data())
def test_sums_of_groups(native: ModuleType, data: st.DataObject) -> None:
    row = data.draw(arrays(np.float64, st.integers(1, 60), elements=LOGS))
    count = data.draw(st.integers(0, 90) | st.integers(1020, 1030))
    order = np.arange(count, dtype=np.int32) * 7 % len(row)
    allowed = data.draw(arrays(np.bool_, count, fill=st.booleans()))
    cuts = data.draw(st.lists(st.integers(0, count), max_size=12))
    starts = np.array([0, *sorted(cuts), count])
    found = native.sums_of_groups(row, order, allowed, starts)
    assert_close(found, reference.sums_of_groups(row, order, allowed, starts))


@pytest.mark.parametrize("starts", [[], [0], [0, 2], [1, 3], [0, 3, 2, 3], [0, 4]])
def test_groups_that_are_none_are_refused(native: ModuleType, starts: list[int]) -> None:
    for kernels in (native, reference):
        with pytest.raises(ValueError, match="ascend"):
            kernels.sums_of_groups(
                np.zeros(5), np.arange(3), np.ones(3, dtype=bool), np.array(starts, dtype=np.int64)
            )


def test_exponentials_over_their_whole_range(native: ModuleType) -> None:
    row = -np.geomspace(1e-300, 709, 60_000)
    row[0] = 0.0
    everything = np.arange(len(row)), np.ones(len(row), dtype=bool)
    found = native.sorted_weights(row, *everything)
    assert found[0] == 1.0
    np.testing.assert_allclose(found, np.where(row < reference.LEAST_LOG, 0, np.exp(row)), rtol=1e-15, atol=0)


@pytest.mark.parametrize("place", [-1, 5, 2**31 - 1, -(2**31), 2**32, 2**40, -(2**40)])
def test_places_outside_of_the_row_are_refused(native: ModuleType, place: int) -> None:
    for kernels in (native, reference):
        for dtype in (np.int32, np.int64) if abs(place) <= 2**31 else (np.int64,):
            order, allowed = np.array([0, place, 1], dtype=dtype), np.ones(3, dtype=bool)
            with pytest.raises(ValueError, match="outside"):
                kernels.sorted_weights(np.zeros(5), order, allowed)
            with pytest.raises(ValueError, match="outside"):
                kernels.sums_of_groups(np.zeros(5), order, allowed, np.array([0, 3]))


def test_bad_weights_and_lengths_are_refused(native: ModuleType) -> None:
    row = np.array([-1.0, np.nan])
    for kernels in (native, reference):
        with pytest.raises(ValueError, match="NaN"):
            kernels.sorted_weights(row, np.array([0, 1]), np.ones(2, dtype=bool))
        with pytest.raises(ValueError, match="length"):
            kernels.sorted_weights(row, np.array([0, 1]), np.ones(1, dtype=bool))
        with pytest.raises(ValueError, match="length"):
            kernels.sums_by_byte(np.ones(2), np.zeros(3, dtype=np.uint8))


@settings(deadline=None)
@given(st.data())
def test_sums_by_byte(native: ModuleType, data: st.DataObject) -> None:
    bytes_ = np.sort(data.draw(arrays(np.uint8, st.integers(0, 80))))
    weights = data.draw(arrays(np.float64, len(bytes_), elements=st.floats(0, 1)))
    found = native.sums_by_byte(weights, bytes_)
    assert_close(found, reference.sums_by_byte(weights, bytes_))


def test_bytes_that_do_not_ascend_are_refused(native: ModuleType) -> None:
    for kernels in (native, reference):
        with pytest.raises(ValueError, match="ascend"):
            kernels.sums_by_byte(np.ones(2), np.array([1, 0], dtype=np.uint8))
        with pytest.raises(ValueError, match="length"):
            kernels.sums_by_byte(np.ones(1), np.array([0, 1], dtype=np.uint8))


@settings(deadline=None)
@given(arrays(np.float64, st.integers(2, 40), elements=st.floats(0, 1) | st.sampled_from([0.0, 0.5])))
def test_two_greatest(native: ModuleType, values: np.ndarray) -> None:
    assert native.two_greatest(values) == reference.two_greatest(values)
    for kernels in (native, reference):
        with pytest.raises(ValueError, match="two values"):
            kernels.two_greatest(values[:1])


def test_rows_that_are_used_again_are_whole(native: ModuleType) -> None:
    """Memory goes to a row of the same size only, once nobody looks at it any more."""
    rng = np.random.default_rng(3)
    logits = [rng.normal(0, 3, (1, size)).astype(np.float32) for size in (5000, 6000, 5000, 7) * 12]
    kept = []
    for turn, part in enumerate(logits):
        kept.append((part, native.log_softmax(part)))
        if turn % 3 == 2:
            del kept[0]
    for part, row in kept:
        np.testing.assert_allclose(row, reference.log_softmax(part), rtol=1e-12, atol=1e-12)


def test_small_sums_keep_their_digits_beside_large_ones(native: ModuleType) -> None:
    """What a difference of two prefix sums would lose: docs/decisions/0008."""
    weights, bytes_ = np.array([0.5, 3e-40, 2e-40, 0.5]), np.array([0, 1, 1, 2], dtype=np.uint8)
    for kernels in (native, reference):
        assert kernels.sums_by_byte(weights, bytes_)[1] == pytest.approx(5e-40, rel=1e-15)


@pytest.mark.parametrize("bytes_", [[1, 0], [0, 0, 255, 254, 255], [5, 5, 5, 4]])
def test_unsorted_bytes_are_refused(native: ModuleType, bytes_: list[int]) -> None:
    for kernels in (native, reference):
        with pytest.raises(ValueError, match="ascend"):
            kernels.sums_by_byte(np.ones(len(bytes_)), np.array(bytes_, dtype=np.uint8))


def test_any_memory_layout(native: ModuleType) -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 3, (40, 6)).astype(np.float32).T
    np.testing.assert_allclose(native.log_softmax(logits), reference.log_softmax(logits), rtol=1e-12)
    row, order = -rng.random(300)[::3], rng.integers(0, 100, 80)[::-2]
    allowed = rng.random(120)[::3] < 0.5
    assert_close(native.sorted_weights(row, order, allowed), reference.sorted_weights(row, order, allowed))
    weights, bytes_ = rng.random(200)[::2], np.sort(rng.integers(0, 256, 200).astype(np.uint8))[::2]
    assert_close(native.sums_by_byte(weights, bytes_), reference.sums_by_byte(weights, bytes_))
    weights.flags.writeable = False
    assert_close(native.sums_by_byte(weights, bytes_), reference.sums_by_byte(weights, bytes_))
