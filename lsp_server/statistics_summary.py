"""Sums and shares of the statistics: pure functions from counts to what `midword stats` shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from lsp_server.counts import Batch, Count
from lsp_server.statistics import latency_of

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of some group. Shares are None where nothing was counted to take a share of."""

    shown: int
    shown_chars: int
    accepted: int
    accepted_chars: int
    partly: int
    partly_chars: int
    accepted_share: float | None
    kept_30s: float | None
    """Of the accepted characters that could be followed so long, the share that was still there."""
    kept_5min: float | None


def summary(counts: Counter[str]) -> Summary:
    """From numbers by event."""
    return Summary(
        shown=counts["shown"],
        shown_chars=counts["shown-chars"],
        accepted=counts["accepted"],
        accepted_chars=counts["accepted-chars"],
        partly=counts["partly"],
        partly_chars=counts["partly-chars"],
        accepted_share=_share(counts["accepted"], counts["shown"]),
        kept_30s=_share(counts["kept-30s"], counts["kept-30s-of"]),
        kept_5min=_share(counts["kept-5min"], counts["kept-5min-of"]),
    )


def grouped(batch: Batch, group_of: Callable[[Count], str]) -> dict[str, Summary]:
    """Summaries by group, most shown first."""
    by_group: dict[str, Counter[str]] = {}
    for count, number in batch.counts.items():
        by_group.setdefault(group_of(count), Counter())[count[4]] += number
    found = {group: summary(counts) for group, counts in by_group.items()}
    return dict(sorted(found.items(), key=lambda item: (-item[1].shown, item[0])))


GROUPS: dict[str, Callable[[Count], str]] = {
    "language": lambda count: count[1],
    "model": lambda count: count[2],
    "cursor": lambda count: count[3],
    "day": lambda count: count[0],
}


def percentiles(batch: Batch) -> dict[str, dict[str, float]]:
    """By model: percentiles of the latency in ms, to about 9 %, and how many answers that is."""
    by_model: dict[str, Counter[int]] = {}
    for (_, model, bucket), number in batch.latencies.items():
        by_model.setdefault(model, Counter())[bucket] += number
    return {
        model: {
            "answers": buckets.total(),
            **{f"p{p}": round(_percentile(buckets, p), 1) for p in PERCENTILES},
        }
        for model, buckets in sorted(by_model.items())
    }


def as_json(batch: Batch) -> dict[str, Any]:
    """Everything `midword stats` shows, as plain data."""
    total = grouped(batch, lambda count: "all").get("all", summary(Counter()))
    groups = {
        name: {group: asdict(found) for group, found in grouped(batch, group_of).items()}
        for name, group_of in GROUPS.items()
    }
    return {"all": asdict(total), **groups, "latency_ms": percentiles(batch)}


def _percentile(buckets: Counter[int], percent: int) -> float:
    rank = percent / 100 * buckets.total()
    passed = 0
    for bucket in sorted(buckets):
        passed += buckets[bucket]
        if passed >= rank:
            break
    return latency_of(bucket)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
