"""The report of an evaluation: tables for the terminal, a page with plots and the completions themselves."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import Any

from rich.table import Table

from lsp_server.evaluation.runs import Row
from lsp_server.evaluation.tables import Mean, gain_of, mean_of, ways_of
from lsp_server.report import Section, figure, page
from lsp_server.report import table as html_table

COLUMNS = ("passed", "exact", "token", "similarity", "doubled", "indentation", "syntax")
"""Scores that are shares."""
LEGEND = (
    "passed: the item's own tests pass; exact: the text that was there, but for white space at its end;"
    " token: goes on with the rest of the token; similarity: 1 − edit distance / length; doubled: ends with"
    " what stands after the cursor, without need; indentation, syntax: errors that were not there before;"
    " wasted: characters to take back, mean; evaluations: of the model, mean. Percent, with 95 % bootstrap"
    " intervals over files or problems."
)
MOST_EXAMPLES = 300
_STYLE = """
td { white-space: nowrap; } .example td { white-space: pre-wrap; }
.example { border-top: 1px solid var(--line); padding: .6rem 0; }
.example pre { margin: .3rem 0; padding: .4rem; }
.good { color: var(--mark); font-weight: 600; }
mark { background: none; color: var(--mark); font-weight: 600; }
"""
_SCRIPT = """<p><label>Search <input id="find" type="search"></label>
<label><input id="wrong" type="checkbox"> only where the ways differ</label></p><script>
const show = () => { const text = document.getElementById("find").value.toLowerCase();
  const wrong = document.getElementById("wrong").checked;
  for (const e of document.querySelectorAll(".example")) e.hidden =
    !e.textContent.toLowerCase().includes(text) || (wrong && e.dataset.differs === "no"); };
document.getElementById("find").addEventListener("input", show);
document.getElementById("wrong").addEventListener("input", show);
</script>"""


def cells(rows: Sequence[Row], way: str, seed: int) -> list[str]:
    """A way's line of a table."""
    own = [row for row in rows if row.way == way]
    means = [mean_of(own, name, seed) for name in COLUMNS]
    wasted = sum(row.scores.wasted for row in own) / max(1, len(own))
    evaluations = sum(row.evaluations for row in own) / max(1, len(own))
    return [way, str(len(own)), *(_percent(mean) for mean in means), f"{wasted:.1f}", f"{evaluations:.1f}"]


HEADINGS = ("way", "items", *COLUMNS, "wasted", "evaluations")


def terminal_table(rows: Sequence[Row], title: str, seed: int) -> Table:
    """All ways beside each other; columns without any figure are left out."""
    lines = [cells(rows, way, seed) for way in ways_of(rows)]
    used = [n for n in range(len(HEADINGS)) if any(line[n] != "–" for line in lines)]
    drawn = Table(title=title, title_justify="left")
    for number in used:
        drawn.add_column(HEADINGS[number], justify="left" if number == 0 else "right")
    for line in lines:
        drawn.add_row(*(line[number] for number in used))
    return drawn


def report_page(rows: Sequence[Row], about: str, command: str, seed: int) -> str:
    """The whole page. Raises InputError if matplotlib is not installed."""
    ways = ways_of(rows)
    sections = [
        Section("All items", _table(rows, seed) + _plot(rows, ways, seed)),
        Section("Gains", _gains(rows, ways, seed)),
    ]
    for key, title in (("kind", "By class of cursor"), ("language", "By language")):
        names = sorted({getattr(row, key) for row in rows})
        if len(names) > 1:
            parts = [(name, [row for row in rows if getattr(row, key) == name]) for name in names]
            html = "".join(f"<h3>{escape(name)}</h3>{_table(part, seed)}" for name, part in parts)
            sections.append(Section(title, html))
    sections.append(Section("The completions", _SCRIPT + _examples(rows)))
    return page(
        "Are the completions worth accepting?", f"{about} {LEGEND} Printed by: {command}", sections, _STYLE
    )


def _table(rows: Sequence[Row], seed: int) -> str:
    return html_table(HEADINGS, [cells(rows, way, seed) for way in ways_of(rows)])


def _gains(rows: Sequence[Row], ways: Sequence[str], seed: int) -> str:
    first = ways[-1]
    lines = []
    for way in ways[:-1]:
        gains = [gain_of(rows, first, way, name, seed) for name in COLUMNS[:4]]
        lines.append([way, *(_percent(gain) for gain in gains)])
    return html_table(
        ("beside", *COLUMNS[:4]), lines, f"Percentage points that {first!r} has more, same items"
    )


def _plot(rows: Sequence[Row], ways: Sequence[str], seed: int) -> str:
    names = [name for name in COLUMNS[:3] if mean_of(rows, name, seed)]

    def draw(axes: Any) -> None:
        for number, name in enumerate(names):
            found = [mean_of([row for row in rows if row.way == way], name, seed) for way in ways]
            means = [mean for mean in found if mean]
            places = [place + 0.2 * number for place in range(len(means))]
            errors = [[m.mean - m.low for m in means], [m.high - m.mean for m in means]]
            axes.errorbar(places, [m.mean for m in means], yerr=errors, fmt="o", capsize=3, label=name)
        axes.set_xticks(range(len(ways)), ways, rotation=20, ha="right")
        axes.set_ylabel("share of items")
        axes.legend()

    return figure(draw, "Means with 95 % intervals.", (8.0, 3.8))


def _examples(rows: Sequence[Row]) -> str:
    ordered = sorted(rows, key=lambda row: row.item_id)
    found = [list(group) for _, group in groupby(ordered, lambda row: row.item_id)]
    return "".join(map(_example, found[:MOST_EXAMPLES]))


def _example(rows: Sequence[Row]) -> str:
    first = rows[0]
    differs = "yes" if len({row.text for row in rows}) > 1 else "no"
    context = f"{escape(first.before)}<mark>{escape(first.middle)}</mark>{escape(first.after)}"
    lines = "".join(
        f'<tr><td class="{"good" if _is_good(row) else "bad"}">{escape(row.way)}</td>'
        f"<td><code>{escape(row.text)}</code></td></tr>"
        for row in rows
    )
    return (
        f'<div class="example" data-differs="{differs}"><span class="mono">{escape(first.item_id)}</span>'
        f" {escape(first.kind)}<pre>{context}</pre><table>{lines}</table></div>"
    )


def _is_good(row: Row) -> bool:
    return bool(row.scores.exact if row.scores.passed is None else row.scores.passed)


def _percent(mean: Mean | None) -> str:
    return mean.percent if mean else "–"
