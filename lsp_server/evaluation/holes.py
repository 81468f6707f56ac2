"""Holes in a real package: a line or the body of a function is taken out, and the package's own tests run.

A hole counts only if the tests notice it: they must fail with `pass` in its place.
"""

from __future__ import annotations

import ast
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import InputError
from lsp_server.evaluation.items import Item
from lsp_server.evaluation.neighbours import opened_beside
from lsp_server.evaluation.sandbox import Limits, run
from lsp_server.evaluation.sources import Package, fetched, members, packages, sources
from lsp_server.related import excerpts_from

PACKAGE = "toolz"
"""Its wheel has its tests in it, and it needs nothing else."""
MOST_LINES = 6
LIMITS = Limits(wall_s=120.0, cpu_s=60, memory_bytes=2 << 30)


@dataclass(frozen=True, slots=True)
class OwnTests:
    """The package's tests for one file, run by pytest on a copy with that file replaced."""

    archive: Path
    path: str
    test_path: str

    def passes(self, document: bytes) -> bool:
        """See `Check.passes`."""
        with tempfile.TemporaryDirectory(prefix="midword-eval-") as name:
            folder = Path(name)
            shutil.unpack_archive(self.archive, folder, "zip")
            (folder / self.path).write_bytes(document)
            argv = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", self.test_path]
            return run(argv, folder, LIMITS)


def holes(kind: str, count: int, seed: int, folder: Path, open_files: int = 0) -> Iterator[Item]:
    """`count` holes ("holes-line", "holes-body") that the tests notice. Runs tests; raises DownloadError.

    With `open_files` excerpts of so many other files are shown with each. Raises InputError if the untouched
    package does not pass its own tests here.
    """
    (package,) = (package for package in packages() if package.name == PACKAGE)
    archive, found = fetched(package, folder), 0
    paths = {path for path, _ in members(archive)}
    spans = [
        (source.path, source.text, span)
        for source in sources(package, folder)
        if _test_of(source.path) in paths
        for span in (_bodies if kind == "holes-body" else _lines)(source.text)
    ]
    random.Random(seed).shuffle(spans)
    _must_pass(
        package, archive, sorted({path for path, _, _ in spans}), {path: text for path, text, _ in spans}
    )
    for path, text, (start, end) in spans:
        if found == count:
            return
        check = OwnTests(archive, path, _test_of(path))
        if not check.passes(text[:start] + b"pass" + text[end:]):
            found += 1
            rng = random.Random(f"{seed} beside {path}")
            others = opened_beside(path, sources(package, folder), open_files, rng)
            yield Item(
                item_id=f"{package.name}/{path}:{start}-{end}",
                group=f"{package.name}/{path}:{start}",
                kind=kind,
                language="python",
                prefix=text[:start],
                suffix=text[end:],
                middle=text[start:end],
                check=check,
                path=path,
                related=excerpts_from(text[:start], [(other.path, other.text) for other in others]),
            )


def _must_pass(package: Package, archive: Path, paths: Sequence[str], texts: dict[str, bytes]) -> None:
    for path in paths:
        if not OwnTests(archive, path, _test_of(path)).passes(texts[path]):
            raise InputError(
                f"the tests of {package.name} for {path} do not pass here as they are; is pytest installed"
                ' (pip install "midword[eval]")?'
            )


def _test_of(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/tests/test_{name}"


def _lines(text: bytes) -> Iterator[tuple[int, int]]:
    """Statements inside functions that are a line of their own, without their indentation."""
    starts = _line_starts(text)
    for function in _functions(text):
        for node in ast.walk(function):
            if isinstance(node, ast.stmt) and node is not function and node.lineno == node.end_lineno:
                line_end = text.index(b"\n", starts[node.lineno - 1])
                if not isinstance(node, ast.Expr) and not isinstance(node, ast.Pass):
                    yield starts[node.lineno - 1] + node.col_offset, line_end


def _bodies(text: bytes) -> Iterator[tuple[int, int]]:
    """Bodies of functions behind their docstrings, of at most MOST_LINES lines."""
    starts = _line_starts(text)
    for function in _functions(text):
        body = function.body[1:] if ast.get_docstring(function) else function.body
        if body and body[-1].end_lineno and body[-1].end_lineno - body[0].lineno < MOST_LINES:
            first = body[0]
            if first.lineno > function.lineno:
                last_line = starts[body[-1].end_lineno - 1]
                yield starts[first.lineno - 1] + first.col_offset, text.index(b"\n", last_line)


def _functions(text: bytes) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))


def _line_starts(text: bytes) -> list[int]:
    return [0, *(place + 1 for place, byte in enumerate(text) if byte == ord("\n"))]
