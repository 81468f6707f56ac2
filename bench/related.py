"""What do lines below the cursor and lines of other files tell the model? Bits a byte of held-out code.

    python -m bench.related [--windows 96] [--bytes 120] [--open 6] [--model NAME]

Windows begin at line starts of files that `midword eval` uses (packages on which nothing was trained), all
packages alike. The document is shown as the language server shows it, with a window of it taken out; `--open`
other files of the package are taken for open, those of the same folder first, and of them the server's own
choice is shown. The window is predicted byte by byte, exactly (see bench.ensemble). Intervals are bootstraps
over windows. The last line of output is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.ensemble import interval, predicted
from engine.backends.base import StopSignal
from engine.completer import Completer
from engine.model import load_model
from engine.types import Excerpt, Request
from engine.vocab import FloatArray
from lsp_server.cli.numbers import count
from lsp_server.evaluation.neighbours import opened_beside
from lsp_server.evaluation.sources import Source, packages, sources
from lsp_server.related import excerpt_below, excerpts_from
from lsp_server.windows import Place, place_in

LEAST_ABOVE_BYTES = 300


@dataclass(frozen=True, slots=True)
class Window:
    """Text to predict, where it stands, what follows it, and what else is open."""

    path: str
    place: Place
    text: bytes
    suffix: bytes
    others: tuple[Source, ...]

    def related(self) -> tuple[tuple[Excerpt, ...], ...]:
        """What is shown before the document, in the order of WAYS."""
        below = excerpt_below(self.path, self.suffix)
        others = excerpts_from(self.place.prefix, [(file.path, file.text) for file in self.others])
        return (), below, others, below + others


WAYS = ("the lines above", "and below", "and of other files", "and both")


def draw_windows(windows: int, size: int, open_files: int, seed: int, folder: Path) -> Iterator[Window]:
    """`windows` windows of `size` bytes, the packages in turn, each from any of its files."""
    rng = random.Random(seed)
    by_package = [found for package in packages() if len(found := sources(package, folder)) > 1]
    for number in range(windows):
        files = by_package[number % len(by_package)]
        file = rng.choice(files)
        lines = file.text.splitlines(keepends=True)
        ends = np.cumsum([len(line) for line in lines])
        first = int(np.searchsorted(ends, LEAST_ABOVE_BYTES)) + 1
        last = int(np.searchsorted(ends, ends[-1] - size))
        line = rng.randrange(first, max(first + 1, last))
        start = int(ends[line - 1])
        yield Window(
            path=file.path,
            place=place_in(file.path, lines, line, 0),
            text=file.text[start : start + size],
            suffix=file.text[start + size :],
            others=tuple(opened_beside(file.path, files, open_files, rng)),
        )


def bits(completer: Completer, window: Window, related: tuple[Excerpt, ...]) -> tuple[float, int, float]:
    """Bits of the window's bytes, the tokens of its prompt, and milliseconds an evaluation behind that."""
    backend = completer.model.backend
    request = Request(window.place.prefix, path=window.path, related=related)
    prompt, state = completer.open(request, StopSignal())
    total, evaluations, began = 0.0, backend.evaluations, time.perf_counter()
    for byte, known in zip(window.text, predicted(state, window.text), strict=True):
        total -= float(np.log2(known.shares.known[byte] / known.shares.known.sum()))
    spent_ms = (time.perf_counter() - began) * 1000
    return total, completer.prompt_tokens(prompt), spent_ms / max(1, backend.evaluations - evaluations)


def main() -> None:
    """Measures, prints a table and a JSON line."""
    parser = argparse.ArgumentParser(
        description="Bits a byte with and without lines from below and of other files."
    )
    parser.add_argument("--windows", type=count, default=96)
    parser.add_argument("--bytes", type=count, default=120, help="bytes predicted in each window")
    parser.add_argument("--open", type=count, default=6, help="other files that are open")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="the model (default: the default one)")
    kept = Path(platformdirs.user_cache_dir("midword")) / "eval-sources"
    parser.add_argument("--sources", type=Path, default=kept, help="where fetched packages are kept")
    options = parser.parse_args()
    completer = Completer(load_model(options.model))
    windows = list(draw_windows(options.windows, options.bytes, options.open, options.seed, options.sources))
    found = np.zeros((3, len(WAYS), len(windows)))
    shown = list[list[int]]()
    for column, window in enumerate(track(windows, "windows", console=Console(stderr=True))):
        related = window.related()
        for row, excerpts in enumerate(related):
            found[:, row, column] = bits(completer, window, excerpts)
        shown.append([sum(len(e.text) for e in excerpts) for excerpts in related])
    report(found, shown, options)


def report(found: FloatArray, shown: Sequence[Sequence[int]], options: argparse.Namespace) -> None:
    """The table of what `bits` found, (3, ways, windows), and the same as one JSON line; what is saved is
    against the lines above alone. `shown` are bytes of excerpts, (windows, ways)."""
    title = f"{len(shown)} windows of {options.bytes} bytes"
    columns = ("shown", "excerpts, bytes", "bits a byte", "saved a byte", "prompt tokens", "ms an evaluation")
    table = Table(*columns, title=title)
    figures = {}
    for way, size, bits_, tokens, ms in zip(WAYS, np.mean(shown, axis=0), *found, strict=True):
        saved = found[0, 0] - bits_
        (low, high), (least, most) = (interval(row, options.bytes, options.seed) for row in (bits_, saved))
        mean, gain = float(bits_.mean()) / options.bytes, float(saved.mean()) / options.bytes
        figures[way] = {"excerpt_bytes": float(size), "bits_per_byte": mean, "interval": [low, high],
                        "saved": [least, gain, most], "prompt_tokens": float(tokens.mean()),
                        "ms": float(np.median(ms))}  # fmt: skip
        intervals = (f"{mean:.3f} ({low:.3f} to {high:.3f})", f"{gain:+.3f} ({least:+.3f} to {most:+.3f})")
        table.add_row(way, f"{size:.0f}", *intervals, f"{tokens.mean():.0f}", f"{np.median(ms):.1f}")
    Console(width=130).print(table)
    print(json.dumps({"windows": len(shown), "bytes": options.bytes, "seed": options.seed, "rows": figures}))


if __name__ == "__main__":
    main()
