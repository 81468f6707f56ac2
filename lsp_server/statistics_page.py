"""The page of `midword stats --html`: tables, and plots over the days."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lsp_server.counts import Batch
from lsp_server.report import Section, figure, page, table
from lsp_server.statistics import latency_of
from lsp_server.statistics_summary import GROUPS, Summary, grouped, percentiles

HEADINGS = ("shown", "accepted", "share", "partly", "chars", "kept 30s", "kept 5min")
MOST_DAY_LABELS = 12
_LEAD = (
    "What midword showed on this machine and what became of it: counts and lengths, no text and no names of "
    "files. A completion that is typed along counts once. Kept: the share of accepted characters still there."
)


def statistics_page(batch: Batch) -> str:
    """The whole document. Raises InputError if matplotlib is missing."""
    if not batch:
        return page("midword: statistics", "There are no statistics on this machine yet.", [])
    sections = [
        Section(f"By {name}", table((name, *HEADINGS), [(group, *cells(s)) for group, s in found.items()]))
        for name, found in ((name, grouped(batch, group_of)) for name, group_of in GROUPS.items())
        if name != "day"
    ]
    days = dict(sorted(grouped(batch, GROUPS["day"]).items()))
    rows = [(model, *found.values()) for model, found in percentiles(batch).items()]
    latency = table(("model", "answers", "p50 ms", "p90 ms", "p99 ms"), rows)
    plots = [
        Section("By day", figure(lambda axes: _plot_days(axes, days), "Completions shown and accepted.")),
        Section(
            "Latency", latency + figure(lambda axes: _plot_latency(axes, batch), "Answers of the engine.")
        ),
    ]
    return page("midword: statistics", _LEAD, [*plots, *sections])


def cells(found: Summary) -> tuple[object, ...]:
    """A table row, as HEADINGS says."""
    shares = (found.accepted_share, found.kept_30s, found.kept_5min)
    accepted, kept_30s, kept_5min = ("–" if share is None else f"{share:.0%}" for share in shares)
    return found.shown, found.accepted, accepted, found.partly, found.accepted_chars, kept_30s, kept_5min


def _plot_days(axes: Any, days: dict[str, Summary]) -> None:
    axes.bar(list(days), [found.shown for found in days.values()], label="shown", alpha=0.5)
    axes.bar(list(days), [found.accepted for found in days.values()], label="accepted")
    axes.set_xticks(list(days)[:: -(-len(days) // MOST_DAY_LABELS)])
    axes.tick_params(axis="x", rotation=45)
    axes.legend()


def _plot_latency(axes: Any, batch: Batch) -> None:
    for model in sorted({model for _, model, _ in batch.latencies}):
        buckets: Counter[int] = Counter()
        for (_, name, bucket), number in batch.latencies.items():
            buckets[bucket] += number * (name == model)
        found = sorted(bucket for bucket in buckets if buckets[bucket])
        axes.plot([latency_of(b) for b in found], [buckets[b] for b in found], marker="o", label=model)
    axes.set_xscale("log")
    axes.set_xlabel("ms")
    axes.legend()
