"""Runs items through methods; each result is a line of a JSONL file, so a run that was killed goes on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.errors import InputError
from engine.types import Result
from lsp_server.evaluation.items import Item
from lsp_server.evaluation.methods import Way
from lsp_server.evaluation.metrics import Scores, scores_of


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One completion and its scores."""

    item_id: str
    way: str
    group: str
    kind: str
    language: str
    text: str
    stop: str
    evaluations: int
    ms: float
    scores: Scores
    before: str
    """The end of the prefix, for people who read the report."""
    middle: str
    after: str


Ask = Callable[[Item, Way], Result]
OF = " of "
"""Between the name of a way and that of another run."""
_ANY = {"model": "", "related": 0}
"""What may be different in a run that stands beside another."""


class State:
    """The file of a run. Its first line is what was asked; a half-written last line is dropped."""

    def __init__(self, path: Path, asked: dict[str, Any]) -> None:
        """Opens or begins a run. Raises InputError if the file belongs to another one."""
        self._path = path
        self.rows: list[Row] = []
        self._done: set[tuple[str, str]] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = path.read_bytes() if path.exists() else b""
            whole = whole[: whole.rfind(b"\n") + 1]
            lines = [json.loads(line) for line in whole.splitlines()]
            if lines and lines[0] != asked:
                raise InputError(
                    f"{path} is of a run with other settings; choose another --out, or delete it"
                )
            for fields in lines[1:]:
                self._keep(_row(fields))
            path.write_bytes(whole or _line(asked))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"cannot use {path}: {error}; choose another --out, or delete it") from None

    def add(self, row: Row) -> None:
        """Keeps a row, on the disk too."""
        self._keep(row)
        with self._path.open("ab") as file:
            file.write(_line(dataclasses.asdict(row)))

    def _keep(self, row: Row) -> None:
        self.rows.append(row)
        self._done.add((row.item_id, row.way))

    def has(self, item: Item, way: Way) -> bool:
        """Whether that was done already."""
        return (item.item_id, way.name) in self._done


def rows_beside(path: Path, asked: dict[str, Any]) -> list[Row]:
    """The rows of another run, each way named after what is different there: the model, and whether related
    files are shown.

    Raises InputError if there is none, or if something else was asked.
    """
    try:
        header, *lines = [json.loads(line) for line in path.read_bytes().splitlines(keepends=True)]
        if header | _ANY != asked | _ANY:
            raise InputError(f"{path} is of a run with other settings, so it cannot stand beside this one")
        rows = [_row(fields) for fields in lines]
        theirs, ours = header.get("related", 0), asked.get("related", 0)
        name = header["model"] if theirs == ours else f"{header['model']}, {theirs} related files"
        return [dataclasses.replace(row, way=f"{row.way}{OF}{name}") for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not the state of a run: {error}") from None


def run(
    items: Sequence[Item], ways: Sequence[Way], ask: Ask, state: State, advance: Callable[[], None]
) -> None:
    """Completes every item in every way that the state has not yet; all ways of an item in turn."""
    for item in items:
        for way in ways:
            if not state.has(item, way):
                state.add(_answered(item, way, ask(item, way)))
            advance()


def _answered(item: Item, way: Way, result: Result) -> Row:
    best = result.completions[0] if result.completions else None
    text = best.text if best else b""
    passed = item.check.passes(item.prefix + text + item.suffix) if item.check else None
    return Row(
        item_id=item.item_id,
        way=way.name,
        group=item.group,
        kind=item.kind,
        language=item.language,
        text=_shown(text),
        stop=best.stop if best else "",
        evaluations=result.usage.model_evaluations,
        ms=result.usage.total_ms,
        scores=scores_of(item, text, passed=passed),
        before=_shown(item.prefix[-120:]),
        middle=_shown(item.middle),
        after=_shown(item.suffix[:80]),
    )


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _row(fields: dict[str, Any]) -> Row:
    return Row(**(fields | {"scores": Scores(**fields["scores"])}))
