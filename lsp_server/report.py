"""Self-contained HTML pages: one file, no script or style from elsewhere, light and dark.

A page is a list of sections of HTML. Text becomes HTML by `escape`, `text_html` or `table`, and nowhere else.
Plots are drawn by matplotlib (the extra `report`), which is imported only when a plot is asked for.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.errors import InputError

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's colours, which people with any colour vision can tell apart."""

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2328; --quiet: #5c6670; --line: #d6dce1;
  --mark: #0072b2; --card: #f5f7f9; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181c; --ink: #e4e8eb; --quiet: #9aa5ae; --line: #343c44;
    --mark: #56b4e9; --card: #1d2329; }
  figure svg { filter: invert(1) hue-rotate(180deg); } }
body { margin: 2rem auto; max-width: 68rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p.lead, figcaption, caption { color: var(--quiet); } caption { text-align: left; padding-bottom: .4rem; }
code, pre, .mono { font: 14px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
pre { background: var(--card); padding: .8rem 1rem; overflow-x: auto; border-radius: 6px; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1.2rem 0; } figure svg { max-width: 100%; height: auto; }
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading (plain text) and its content (HTML)."""

    heading: str
    html: str


def page(title: str, lead: str, sections: Sequence[Section], style: str = "") -> str:
    """A whole document. `title` and `lead` are plain text; `style` is CSS behind the common one."""
    body = "\n".join(f"<section><h2>{escape(s.heading)}</h2>\n{s.html}</section>" for s in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style></head>\n"
        f'<body><h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n{body}\n</body></html>\n'
    )


def text_html(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """An HTML table; numbers stand right, floats with three significant digits or none after 100."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{named}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'<td class="number">{value:.0f}</td>' if abs(value) >= 100 else _number(f"{value:.3g}")
    return _number(str(value)) if isinstance(value, int) else f"<td>{escape(str(value))}</td>"


def _number(text: str) -> str:
    return f'<td class="number">{text}</td>'


def figure(draw: Callable[[Any], None], caption: str, size_inches: tuple[float, float] = (8.0, 3.4)) -> str:
    """A plot as inline SVG in a figure element; `draw` gets matplotlib's Axes.

    Raises InputError with an install hint if matplotlib is not installed.
    """
    try:
        matplotlib = import_module("matplotlib")
        figure_class = import_module("matplotlib.figure").Figure
    except ImportError:
        raise InputError('plots need matplotlib; install it with: pip install "midword[report]"') from None
    settings = {"svg.fonttype": "none", "svg.hashsalt": "midword", "font.family": "sans-serif",
                "axes.prop_cycle": matplotlib.cycler(color=PALETTE), "axes.spines.top": False,
                "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3}  # fmt: skip
    with matplotlib.rc_context(settings):
        drawing = figure_class(figsize=size_inches, layout="constrained")
        draw(drawing.subplots())
        stream = io.StringIO()
        drawing.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}<figcaption>{escape(caption)}</figcaption></figure>"


def write_page(path: Path, html: str) -> None:
    """Writes the page. Raises InputError if it cannot be written."""
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
