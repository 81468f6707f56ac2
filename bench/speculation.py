"""How much faster do drafts make decoding? The same completions with each method of drafting, side by side.

    python -m bench.speculation [--cursors 8] [--seconds 420] [--max-tokens 64] [--max-lines 8]
    python -m bench.speculation --methods off,mixed,oracle-1,oracle-2,oracle-4,oracle-8

Cursors stand where a statement begins, in Python files of installed packages, and nothing stands right of
them: the statement and what follows it, `--max-lines` lines in all, are cut out. They are of two classes,
`--cursors` each:

- `any`: any statement but docstrings.
- `repeated`: statements behind which at least half of what is cut out, by runs of four tokens, stands
  elsewhere in the file, too (within 32 KB, where drafts look). The model has no say in that.

The model is shown what the product shows it, drafts may also look into the file on either side. Each method
keeps what it learns from one cursor to the next, as the engine does. The distribution at the cursor is known
before the clock starts, so times are those of decoding. The methods take turns in going first.

`fixed-N` is `mixed` with drafts of N rows whatever they are worth. `oracle-N` knows the rows that decoding
without drafts asked for, and drafts the next N of them: no draft of N rows can do better. `naive` decodes
plain tokens, without drafts: what is left of the time if nothing is exact. Speed-up is the total time of the
first method by that of another. Prints tables and a JSON line.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.cursors import PACKAGES, python_files
from engine.backends.base import StopSignal, alike_of
from engine.cache import Scorer
from engine.completer import Completer
from engine.drafts import drafter as drafter_module
from engine.drafts.acceptance import BatchCosts
from engine.drafts.drafter import Drafter, Root
from engine.model import Model, load_model
from engine.tree import TokenPath
from engine.types import SHOWN_PREFIX_BYTES, SHOWN_SUFFIX_BYTES, Completion, Request, Usage
from lsp_server.related import excerpt_below

METHODS = ("off", "naive", "lookup", "nearest", "recycling", "mixed", "oracle-1", "oracle-2", "oracle-4")
CLASSES = ("any", "repeated")
NEAR_BYTES = 32_768
"""Of the file on either side of the cursor, what drafts may use."""
RUN = 4
"""Tokens that stand together elsewhere if they are repeated."""
REPEATED_SHARE = 0.5
PER_FILE = 6
"""Most statements of a file that are looked at."""


@dataclass(frozen=True, slots=True)
class Place:
    """A cursor in a file, where `cut` was cut out."""

    name: str
    before: bytes
    cut: bytes
    after: bytes


@dataclass(slots=True)
class Score:
    """One method's results, one entry a cursor."""

    texts: list[bytes] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)

    def total(self, name: str) -> float:
        """The sum of one count or time."""
        return float(sum(getattr(usage, name) for usage in self.usages))

    @property
    def decode_ms(self) -> float:
        """The prompt's time apart."""
        return self.total("total_ms") - self.total("prompt_ms")


class FreeRows(BatchCosts):
    """As if a row more cost nothing."""

    @property
    def slope(self) -> float:
        """Nothing."""
        return 0.0


class Oracle(Drafter):
    """Drafts the next `most` rows that decoding without drafts asked for; records them when `most` is 0."""

    def __init__(self, token_bytes: Sequence[bytes], most: int, needed: dict[TokenPath, None]) -> None:
        super().__init__(token_bytes)
        self._most = most
        self._needed = needed

    def asked(self, path: TokenPath) -> None:
        """Decoding needs the row behind `path`."""
        if not self._most:
            self._needed.setdefault(path)
        super().asked(path)

    def draft(
        self, roots: Sequence[Root], is_known: Callable[[TokenPath], bool], take: Callable[[TokenPath], bool]
    ) -> list[TokenPath]:
        """The next ones that are not known yet, and whose beginning is."""
        found: list[TokenPath] = []
        for path in self._needed if self._brief else ():
            if len(found) == self._most:
                break
            if not is_known(path) and (path[:-1] in found or is_known(path[:-1])) and take(path):
                found.append(path)
        if found:
            self._took(found)
        return found


class Method:
    """A way to draft, with what it has learned."""

    def __init__(self, name: str, model: Model, needed: dict[TokenPath, None]) -> None:
        kind, _, most = name.partition("-")
        token_bytes = model.tokenizer.vocab.token_bytes
        self.most = int(most) if kind == "fixed" else drafter_module.MOST_DRAFTED
        drafts = {"fixed": "mixed", "oracle": "lookup", "naive": "off"}.get(kind, name)
        self.options: dict[str, Any] = {"drafts": drafts, "method": "naive" if name == "naive" else "exact"}
        self.scores = {kind: Score() for kind in CLASSES}
        if name == "off" or kind == "oracle":
            self._drafter: Drafter = Oracle(token_bytes, int(most or 0), needed)
        else:
            costs = FreeRows() if kind == "fixed" else None
            self._drafter = Drafter(token_bytes, costs, alike=alike_of(model.backend))
        self._model = model

    def complete(self, place: Place, kind: str, request: Request) -> None:
        """One completion; the distribution at the cursor is known."""
        drafter_module.MOST_DRAFTED = self.most
        completer = Completer(replace(self._model, scorer=Scorer(self._model.backend, drafter=self._drafter)))
        encode = self._model.tokenizer.encode
        for side, text in (("before", place.before[-NEAR_BYTES:]), ("after", place.after[:NEAR_BYTES])):
            self._drafter.learn_text(f"{place.name} {side}", encode(text))
        completer.open(request, StopSignal())
        result = completer.complete(replace(request, **self.options), StopSignal())
        best = result.completions[0] if result.completions else Completion(b"", 0.0, "end-of-middle")
        self.scores[kind].texts.append(best.text)
        self.scores[kind].usages.append(result.usage)


# -- places ---------------------------------------------------------------------------------------


def statements(path: Path, lines: int) -> Iterator[Place]:
    """A cursor at each statement of a file that has enough text on either side; docstrings apart."""
    text = path.read_bytes()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.stmt) or _is_docstring(node) or node.lineno + lines >= len(starts):
            continue
        begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.lineno - 1 + lines] - 1
        if begin > SHOWN_PREFIX_BYTES // 2 and not text[starts[node.lineno - 1] : begin].strip():
            yield Place(path.name, text[:begin], text[begin:end], text[end:])


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def repeated_share(tokens_of: Callable[[bytes], TokenPath], place: Place) -> float:
    """Share of the runs of RUN tokens in what was cut out that stand in the file around it, too."""
    here = set[TokenPath]()
    for text in (place.before[-NEAR_BYTES:], place.after[:NEAR_BYTES]):
        here.update(_runs(tokens_of(text)))
    runs = _runs(tokens_of(place.cut))
    return float(np.mean([run in here for run in runs])) if runs else 0.0


def _runs(tokens: TokenPath) -> list[TokenPath]:
    return [tokens[k : k + RUN] for k in range(len(tokens) - RUN + 1)]


def draw_places(
    model: Model, packages: Sequence[str], count: int, seed: int, lines: int
) -> tuple[dict[str, list[Place]], float]:
    """`count` cursors of each class, each in a file of its own, and the share of statements that are
    `repeated`, of all that were looked at."""
    random_ = random.Random(seed)
    files = [path for path in python_files(packages) if path.stat().st_size > 2 * SHOWN_PREFIX_BYTES]
    files = [path for path in files if not path.name.startswith("unicode")]  # tables, not code
    random_.shuffle(files)
    found: dict[str, list[Place]] = {kind: [] for kind in CLASSES}
    looked_at = repeated = 0
    for path in files:
        pool = list(statements(path, lines))
        chosen = random_.sample(pool, min(PER_FILE, len(pool)))
        shares = [repeated_share(model.tokenizer.encode, place) for place in chosen]
        again = [place for place, share in zip(chosen, shares, strict=True) if share >= REPEATED_SHARE]
        looked_at += len(chosen)
        repeated += len(again)
        found["any"] += chosen[:1]
        found["repeated"] += [place for place in again if place not in chosen[:1]][:1]
        if all(len(places) >= count for places in found.values()):
            break
    return {kind: places[:count] for kind, places in found.items()}, repeated / max(1, looked_at)


# -- the run --------------------------------------------------------------------------------------


def main() -> None:
    """Measures, prints tables and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cursors", type=int, default=8, help="of each class")
    parser.add_argument("--seconds", type=float, default=420, help="no further cursor after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default=None)
    parser.add_argument("--backend", default="auto", help="native or llama.cpp")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--max-lines", type=int, default=8)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--packages", default=",".join(PACKAGES))
    options = parser.parse_args()
    names = options.methods.split(",")
    if any(name.startswith("oracle") for name in names) and "off" not in names:
        parser.error("oracle-N needs the method off, which shows it what to draft")
    model = load_model(options.model, backend=options.backend)
    places, share = draw_places(
        model, options.packages.split(","), options.cursors, options.seed, options.max_lines
    )
    needed: dict[TokenPath, None] = {}
    methods = {name: Method(name, model, needed) for name in names}
    began = time.monotonic()
    pairs = [
        (kind, place)
        for several in zip(*places.values(), strict=False)
        for kind, place in zip(CLASSES, several, strict=True)
    ]
    order = [name for name in names if name != "off"]
    for kind, place in track(pairs, "cursors", console=Console(stderr=True)):
        if time.monotonic() - began > options.seconds:
            break
        request = Request(
            place.before[-SHOWN_PREFIX_BYTES:],
            place.after[:SHOWN_SUFFIX_BYTES],
            place.name,
            excerpt_below(place.name, place.after),
            max_tokens=options.max_tokens,
            max_lines=options.max_lines,
        )
        needed.clear()
        Completer(replace(model, scorer=Scorer(model.backend))).open(request, StopSignal())
        order = order[1:] + order[:1]
        for name in [n for n in names if n == "off"] + order:
            methods[name].complete(place, kind, request)
    about = f"{model.name} on {type(model.backend).__name__}, {options.max_tokens} tokens"
    about += f", {options.max_lines} lines; {100 * share:.0f} % of the statements are repeated"
    report(Console(width=120), about, {name: method.scores for name, method in methods.items()})


def report(console: Console, about: str, scores: dict[str, dict[str, Score]]) -> None:
    """A table for each class, and the same as one JSON line. The first method is what the others are
    compared with."""
    said: dict[str, dict[str, dict[str, float]]] = {}
    for kind in CLASSES:
        base = next(iter(scores.values()))[kind]
        if not base.texts:
            continue
        said[kind] = {method: _row(of_class[kind], base) for method, of_class in scores.items()}
        table = Table("method", title=f"{kind}: {len(base.texts)} cursors, {about}")
        for name in next(iter(said[kind].values())):
            table.add_column(name, justify="right")
        for method, row in said[kind].items():
            table.add_row(method, *(f"{value:.2f}" for value in row.values()))
        console.print(table)
    print(json.dumps({"about": about, "classes": said}))


def _row(score: Score, base: Score) -> dict[str, Any]:
    """The means of a completion, and how they compare with those of `base`."""
    count, ms, evaluations = len(score.texts), score.decode_ms, score.total("model_evaluations")
    return {
        "evaluations": evaluations / count,
        "drafted": score.total("drafted_tokens") / count,
        "accepted": score.total("accepted_tokens") / count,
        "accepted/eval.": score.total("accepted_tokens") / evaluations,
        "ms": ms / count,
        "ms/eval.": ms / evaluations,
        "bytes/s": 1000 * sum(map(len, score.texts)) / ms,
        "speed-up": base.decode_ms / ms,
        "different": float(np.mean([a != b for a, b in zip(score.texts, base.texts, strict=True)])),
    }


if __name__ == "__main__":
    main()
