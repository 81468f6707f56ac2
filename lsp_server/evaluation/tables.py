"""From rows to figures: means with intervals by way, class of cursor and language; gains between ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lsp_server.evaluation.metrics import Scores, interval
from lsp_server.evaluation.runs import OF, Row

NAMES = tuple(field.name for field in dataclasses.fields(Scores))
COMPARED = ("exact", "token", "passed", "similarity")
"""Scores whose gains between ways are given."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def percent(self) -> str:
        """As it stands in tables."""
        return f"{100 * self.mean:.0f} ({100 * self.low:.0f} to {100 * self.high:.0f})"


def mean_of(rows: Sequence[Row], name: str, seed: int) -> Mean | None:
    """The mean of a score; None if no row has it."""
    pairs = [(getattr(row.scores, name), row.group) for row in rows if getattr(row.scores, name) is not None]
    return _mean([value for value, _ in pairs], [group for _, group in pairs], seed)


def gain_of(rows: Sequence[Row], ours: str, theirs: str, name: str, seed: int) -> Mean | None:
    """The mean difference of a score between two ways, at the same items."""
    others = {row.item_id: getattr(row.scores, name) for row in rows if row.way == theirs}
    pairs = [
        (getattr(row.scores, name) - others[row.item_id], row.group)
        for row in rows
        if row.way == ours and others.get(row.item_id) is not None and getattr(row.scores, name) is not None
    ]
    return _mean([value for value, _ in pairs], [group for _, group in pairs], seed)


def _mean(values: Sequence[float], groups: Sequence[str], seed: int) -> Mean | None:
    if not values:
        return None
    return Mean(float(np.mean(values)), *interval(values, groups, seed), len(values))


def ways_of(rows: Sequence[Row]) -> list[str]:
    """In the order of their first rows."""
    return list(dict.fromkeys(row.way for row in rows))


def figures(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """All figures as plain data, for JSON."""
    return {
        "all": _by_way(rows, seed),
        "by_kind": _grouped(rows, lambda row: row.kind, seed),
        "by_language": _grouped(rows, lambda row: row.language, seed),
        "gains": [
            {"ours": ours, "theirs": theirs, "score": name, **dataclasses.asdict(gain)}
            for ours, theirs in _pairs(ways_of(rows))
            for name in COMPARED
            if (gain := gain_of(rows, ours, theirs, name, seed))
        ],
    }


def _pairs(ways: Sequence[str]) -> list[tuple[str, str]]:
    """Exact beside each other method in its layout, each layout of exact beside the first (if it scores the
    suffix beside the first that does, too), and each way beside the same one of another run."""
    others = [(way, other) for way in ways for other in ways if other.startswith(f"{way}{OF}")]
    ways = [way for way in ways if OF not in way]
    exact = [way for way in ways if way.startswith("exact, ")]
    pairs = [(e, o) for e in exact for o in ways if o != e and o.partition(", ")[2] == e.partition(", ")[2]]
    scored = [way for way in exact if way.endswith("+suffix")]
    firsts = [(way, first) for first, *rest in filter(None, (exact, scored)) for way in rest]
    return list(dict.fromkeys(pairs + firsts)) + others


def _grouped(rows: Sequence[Row], key: Callable[[Row], str], seed: int) -> dict[str, Any]:
    names = sorted({key(row) for row in rows})
    return {name: _by_way([row for row in rows if key(row) == name], seed) for name in names}


def _by_way(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    for way in ways_of(rows):
        own = [row for row in rows if row.way == way]
        means = {name: mean_of(own, name, seed) for name in NAMES}
        found[way] = {name: dataclasses.asdict(mean) for name, mean in means.items() if mean}
        found[way]["evaluations"] = float(np.mean([row.evaluations for row in own]))
        found[way]["ms_median"] = float(np.median([row.ms for row in own]))
    return found
