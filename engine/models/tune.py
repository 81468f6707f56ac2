"""Which weight type of a model is best on this machine: measure the candidates, pick, remember."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import log2
from pathlib import Path

from engine.errors import InputError, ModelNotFound
from engine.models import measure
from engine.models.home import save_tuned
from engine.models.names import file_of, find, types_here
from engine.models.progress import Report, silent
from engine.models.quantize import WEIGHT_TYPES
from engine.models.registry import RegistryEntry
from engine.models.store import remove, resolve

QUALITY_LOSS = 0.01
"""A type whose bits per byte exceed the best one's by more than this share is not picked."""
SAME_SPEED = 0.03
"""Requests that differ by less than this share count as equally fast."""
_SMALL_BYTES = 1_000_000_000
_CANDIDATES = ("q4_0", "q4_1", "iq4_nl", "q6_k", "q8_0")
_WINDOWS = 6
_PREFILL_TOKENS = 128
_ROUNDS = 2


Speed = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one weight type costs and is worth here."""

    weights: str
    bits_per_byte: float
    prefill_tokens_per_s: float
    decode_ms: float
    """One token after a context of 128."""
    batch8_ms: float
    """Eight tokens at once: what covers and drafts cost."""
    size_bytes: int

    @property
    def request_ms(self) -> float:
        """A typical completion: 32 new prompt tokens, 3 batches of eight, 16 single tokens."""
        return 32e3 / self.prefill_tokens_per_s + 3 * self.batch8_ms + 16 * self.decode_ms


@dataclass(frozen=True, slots=True)
class Tuning:
    """All measurements, and the one that was picked."""

    model: str
    rows: tuple[Measurement, ...]
    picked: Measurement


def pick(rows: Sequence[Measurement]) -> Measurement:
    """The fastest typical completion among those within `QUALITY_LOSS` of the best quality.

    Between equally fast ones, a loss of `QUALITY_LOSS` weighs as much as twice the size.
    """
    best = min(row.bits_per_byte for row in rows)
    good = [row for row in rows if row.bits_per_byte <= best * (1 + QUALITY_LOSS)]
    fastest_ms = min(row.request_ms for row in good)
    fast = [row for row in good if row.request_ms <= fastest_ms * (1 + SAME_SPEED)]
    return min(fast, key=lambda row: log2(row.size_bytes) + (row.bits_per_byte / best - 1) / QUALITY_LOSS)


def candidates(entry: RegistryEntry) -> tuple[str, ...]:
    """The usual types and the shipped one; 16-bit weights too if the model is under 1 GB as shipped."""
    wanted = {*_CANDIDATES, entry.shipped} | ({"f16"} if entry.size_bytes < _SMALL_BYTES else set())
    return tuple(weights for weights in reversed(WEIGHT_TYPES) if weights in wanted)


def tune(
    name: str | None, types: Sequence[str] = (), progress: Report | None = None, store_pick: bool = True
) -> Tuning:
    """Measure `types` (default: `candidates`) of model `name`, pulled if need be; 10 to 20 s each for 135M.

    The pick is stored for `resolve` unless `store_pick` is false. Files made only to be measured are removed.
    Raises InputError, and what `resolve` raises.
    """
    entry, _ = find(name)
    unknown = [weights for weights in types if weights not in WEIGHT_TYPES]
    if unknown:
        raise InputError(f"{unknown[0]!r} is not a weight type; take some of {', '.join(WEIGHT_TYPES)}")
    keep = {*types_here(entry), entry.shipped}
    try:
        rows = _measured(entry, list(types or candidates(entry)), progress or silent)
        picked = pick(rows)
        keep.add(picked.weights)
    finally:
        _drop(entry, keep)
    if store_pick:
        save_tuned(entry.name, _record(rows, picked))
    return Tuning(entry.name, tuple(rows), picked)


def _measured(entry: RegistryEntry, types: Sequence[str], report: Report) -> list[Measurement]:
    """Quality once, speed in rounds over all types: other load on the machine then hits all alike, and the
    best of the rounds is what the machine can do."""
    paths = {weights: resolve(f"{entry.name}:{weights}", report).path for weights in types}
    speeds: dict[str, list[Speed]] = {weights: [] for weights in types}
    for number in range(_ROUNDS):
        for weights, path in paths.items():
            report(f"measuring speed, round {number + 1} of {_ROUNDS}: {weights}", 0, None)
            speeds[weights].append(measure_speed(path))
    rows = []
    for weights, path in paths.items():
        report(f"measuring quality: {weights}", 0, None)
        prefill, decode, batch8 = zip(*speeds[weights], strict=True)
        quality = measure_quality(path)
        rows.append(
            Measurement(weights, quality, max(prefill), min(decode), min(batch8), path.stat().st_size)
        )
    return rows


def measure_speed(path: Path) -> Speed:
    """Prefill tokens per second, milliseconds of a single decode and of a batch of eight."""
    with measure.probe(path) as model:
        tokens = [token for text in measure.code_windows(_WINDOWS) for token in model.tokens(text)]
        tokens = tokens[:_PREFILL_TOKENS]
        return (
            measure.prefill_tokens_per_s(model, tokens, repeats=2),
            measure.decode_ms(model, tokens, width=1, repeats=16),
            measure.decode_ms(model, tokens, width=8, repeats=6),
        )


def measure_quality(path: Path) -> float:
    """Bits per byte of Python code; lower is better."""
    with measure.probe(path) as model:
        return measure.bits_per_byte(model, measure.code_windows(_WINDOWS))


def _drop(entry: RegistryEntry, keep: set[str]) -> None:
    for weights in types_here(entry):
        if weights not in keep and file_of(entry, weights).exists():
            with suppress(ModelNotFound):  # another process was quicker
                remove(f"{entry.name}:{weights}")


def _record(rows: Sequence[Measurement], picked: Measurement) -> dict[str, object]:
    return {
        "weights": picked.weights,
        "machine": f"{platform.machine()} {platform.processor()}".strip(),
        "when": time.strftime("%Y-%m-%d"),
        "measured": [asdict(row) for row in rows],
    }
