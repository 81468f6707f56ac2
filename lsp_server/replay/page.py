"""The report of a replay: a page with plots, a table for the terminal, ratios between peers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from lsp_server.replay.figures import Figures, Row
from lsp_server.report import Section, figure, page
from lsp_server.report import table as html_table

_COLUMNS = (
    "cursor", "keys", "answer", "shown", "right", "p50 ms", "p95", "p99", "prompt", "mean", "stale",
)  # fmt: skip
LEGEND = (
    "answer: keys answered before the next; shown: answers with something to show; right: shown texts that"
    " the user then typed; p50, p95, p99: time to ghost text; prompt, mean: prompt tokens evaluated because"
    " of a key, median and mean; stale: texts shown for another cursor."
)


def cells(row: Row) -> list[object]:
    """A row's cells, in the order of the columns."""
    times = [_ms(row.p50_ms), _ms(row.p95_ms), _ms(row.p99_ms)]
    shares = [f"{share:.0%}" for share in (row.answered_share, row.shown_share, row.right_share)]
    return [row.name, row.keys, *shares, *times, round(row.prompt_tokens), row.prompt_tokens_mean, row.stale]


def terminal_table(found: Figures) -> Table:
    """One peer's rows."""
    drawn = Table(title=found.peer, title_justify="left", caption=summary(found), caption_justify="left")
    for number, column in enumerate(_COLUMNS):
        drawn.add_column(column, justify="left" if number == 0 else "right")
    for row in found.rows:
        drawn.add_row(*(f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells(row)))
    return drawn


def summary(found: Figures) -> str:
    """What a run has cost, as sentences."""
    starts = ", ".join(f"{step} after {ms:.0f} ms" for step, ms in found.start_ms.items())
    cancelled = ""
    if found.cancel_steps_p50 is not None:
        cancelled = f" {found.cancelled} cancelled, over after {found.cancel_steps_p50:.2f} steps"
        cancelled += f" (p50) and {found.cancel_steps_p99:.2f} (p99)."
    return (
        f"{found.evaluations_per_completion:.1f} model evaluations and {found.ms_per_completion:.0f} ms a"
        f" completion, {found.ms_per_evaluation:.1f} ms a step."
        f" {found.wasted_tokens} of {found.decode_tokens} decoded tokens were for texts of which nothing was"
        f" shown; {found.ahead_tokens} tokens ahead of requests.{cancelled}"
        f" {found.cpu_s_per_key:.3f} CPU seconds a key, {found.cpu_cores_used:.2f} cores in use; at most"
        f" {found.peak_mb:.0f} MB resident ({found.anonymous_mb:.0f} MB not of files)."
        f" {found.accepted_share:.0%} of the text was accepted. {starts}."
    )


def ratios(all_figures: Sequence[Figures]) -> dict[str, dict[str, float | None]]:
    """Each peer beside the first: how many times as long, or as much, the peer took."""
    first, *others = all_figures
    return {other.peer: _ratios(first, other) for other in others}


def _ratios(first: Figures, other: Figures) -> dict[str, float | None]:
    ours, theirs = first.row("all"), other.row("all")
    return {
        "p50": _ratio(theirs.p50_ms, ours.p50_ms),
        "p95": _ratio(theirs.p95_ms, ours.p95_ms),
        "ms_per_completion": _ratio(other.ms_per_completion, first.ms_per_completion),
        "ms_per_evaluation": _ratio(other.ms_per_evaluation, first.ms_per_evaluation),
        "cpu_s_per_key": _ratio(other.cpu_s_per_key, first.cpu_s_per_key),
    }


def report_page(all_figures: Sequence[Figures], command: str, about: str) -> str:
    """The whole page. Raises InputError if matplotlib is not here."""
    sections = [Section("Time to ghost text", _distribution(all_figures))]
    if len(all_figures) > 1:
        sections.append(Section("Beside each other", _beside(all_figures)))
    for found in all_figures:
        html = html_table(_COLUMNS, [cells(row) for row in found.rows], summary(found))
        sections.append(Section(found.peer, html + _by_class(found) + _prompt_tokens(found)))
    return page("Replayed keystrokes", f"{about} {LEGEND} Printed by: {command}", sections)


def _beside(all_figures: Sequence[Figures]) -> str:
    found = ratios(all_figures)
    names = list(next(iter(found.values())))
    rows = [[peer, *(_number(values[name]) for name in names)] for peer, values in found.items()]
    return html_table(["peer", *names], rows, f"How many times as much as {all_figures[0].peer}")


def _distribution(all_figures: Sequence[Figures]) -> str:
    def draw(axes: Any) -> None:
        for found in all_figures:
            times = sorted(max(0.1, ms) for ms in found.shown_ms)
            shares = [(index + 1) / len(times) for index in range(len(times))]
            axes.step(times, shares, where="post", label=found.peer)
        axes.set_xscale("log")
        axes.set_xlabel("milliseconds from question to ghost text")
        axes.set_ylabel("share of keys with ghost text")
        axes.legend()

    return figure(draw, "Distribution of the time to ghost text, answered keys only.")


def _by_class(found: Figures) -> str:
    rows = [row for row in found.rows if row.p50_ms is not None]

    def draw(axes: Any) -> None:
        places = range(len(rows))
        axes.barh([p + 0.2 for p in places], [row.p50_ms for row in rows], height=0.36, label="p50")
        axes.barh([p - 0.2 for p in places], [row.p95_ms or 0 for row in rows], height=0.36, label="p95")
        axes.set_yticks(list(places), [row.name for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("milliseconds to ghost text")
        axes.legend()

    return figure(draw, f"{found.peer}: by the place of the cursor.") if rows else ""


def _prompt_tokens(found: Figures) -> str:
    def draw(axes: Any) -> None:
        axes.plot(found.prompt_tokens, ".", markersize=3)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_xlabel("key")
        axes.set_ylabel("prompt tokens evaluated")

    return figure(draw, f"{found.peer}: prompt tokens evaluated because of each key.", (8.0, 2.4))


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _ratio(theirs: float | None, ours: float | None) -> float | None:
    return theirs / ours if theirs is not None and ours else None
