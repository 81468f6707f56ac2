"""Which weight type is picked, what is kept on disk, and what is remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.models import measure, store, tune
from engine.models.registry import load


def row(
    weights: str, bits: float, prefill: float, decode: float, batch8: float, megabytes: int = 145
) -> tune.Measurement:
    return tune.Measurement(weights, bits, prefill, decode, batch8, megabytes * 1_000_000)


# The default model on two cores of one machine.
MEASURED = (
    row("q4_1", 0.6733, 254, 12.0, 44.5),
    row("q8_0", 0.6734, 449, 13.5, 35.1),
    row("f16", 0.6727, 455, 19.9, 38.8),
    row("q6_k", 0.6764, 479, 13.4, 45.2),
    row("q4_0", 0.7486, 548, 11.7, 28.1),
)


def test_pick() -> None:
    assert tune.pick(MEASURED).weights == "q8_0"
    assert tune.pick(MEASURED[-1:]).weights == "q4_0"


def test_pick_between_equally_fast_ones() -> None:
    q8_0 = row("q8_0", 0.6734, 449, 13.5, 35.1, 145)
    twice_the_size = row("f16", 0.6727, 449, 13.4, 35.0, 271)
    hardly_smaller = row("q6_k", 0.6764, 449, 13.4, 35.0, 138)
    better_and_smaller = row("q5_0", 0.6700, 449, 13.6, 35.2, 105)
    assert tune.pick([q8_0, twice_the_size, hardly_smaller]) is q8_0
    assert tune.pick([q8_0, better_and_smaller]) is better_and_smaller


def test_request_ms() -> None:
    assert row("q8_0", 1, 320, 10, 20).request_ms == pytest.approx(100 + 60 + 160)


def test_candidates_hold_the_shipped_type_and_f16_only_if_small(home: Path) -> None:
    entries = load().entries
    assert set(tune.candidates(entries["smollm2-135m"])) == {"q4_0", "q4_1", "iq4_nl", "q6_k", "q8_0", "f16"}
    assert "q4_k_m" in tune.candidates(entries["gemma3-270m"])
    assert "f16" not in tune.candidates(entries["qwen2.5-coder-7b"])


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speeds and qualities by file name, instead of llama.cpp."""
    by_type = {found.weights: found for found in MEASURED}

    def of(path: Path) -> tune.Measurement:
        return by_type[path.stem.rsplit("-", 1)[1]]

    def speed(path: Path) -> tune.Speed:
        return of(path).prefill_tokens_per_s, of(path).decode_ms, of(path).batch8_ms

    monkeypatch.setattr(tune, "measure_speed", speed)
    monkeypatch.setattr(tune, "measure_quality", lambda path: of(path).bits_per_byte)


def test_tune_keeps_and_remembers_the_pick(
    tiny: Path, home: Path, fake_requantize: list[str], measured: None
) -> None:
    store.resolve("tiny:q6_k")
    tuning = tune.tune("tiny", ["q4_0", "q8_0", "q6_k"])
    assert tuning.picked.weights == "q8_0" and [r.weights for r in tuning.rows] == ["q4_0", "q8_0", "q6_k"]
    here = next(state for state in store.states() if state.entry.name == "tiny")
    assert here.tuned == "q8_0" and set(here.pulled) == {"f32", "q6_k", "q8_0"}
    assert store.resolve("tiny").weights == "q8_0"
    assert len(json.loads((home / "tuned.json").read_text())["tiny"]["measured"]) == 3


def test_a_dry_run_stores_nothing(tiny: Path, fake_requantize: list[str], measured: None) -> None:
    tune.tune("tiny", ["q8_0"], store_pick=False)
    assert store.resolve("tiny").weights == "f32"


def test_an_interrupted_run_leaves_no_candidates(
    tiny: Path, fake_requantize: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(path: Path) -> tune.Speed:
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, "measure_speed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tune.tune("tiny", ["q4_0", "q8_0"])
    assert next(state for state in store.states() if state.entry.name == "tiny").pulled == ("f32",)


def test_unknown_type(tiny: Path) -> None:
    with pytest.raises(InputError, match="'q1' is not a weight type"):
        tune.tune("tiny", ["q1"])


def test_windows_are_code_and_the_same_each_time() -> None:
    windows = measure.code_windows(5)
    assert len(windows) == 5 and windows == measure.code_windows(5)
    assert all(measure.WINDOW_BYTES - 4 <= len(window) <= measure.WINDOW_BYTES for window in windows)
