"""HumanEval-Infilling (Bavarian et al., arXiv 2207.14255): files of the benchmark's own form, `*.jsonl.gz`.

An item passes if prompt + completion + suffix + its tests come to their end.
"""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path

from engine.errors import InputError
from lsp_server.evaluation.items import Item
from lsp_server.evaluation.sandbox import Limits, run_program

SPLITS = {
    "single-line": "single_line",
    "random-span-light": "random_span_light",
    "random-span": "random_span_dev",
}
DATA_VARIABLE = "MIDWORD_EVAL_DATA"


@dataclass(frozen=True, slots=True)
class Tests:
    """The tests of one problem."""

    test: str
    entry_point: str
    limits: Limits

    def passes(self, document: bytes) -> bool:
        """See `Check.passes`."""
        program = f"{document.decode('utf-8', 'replace')}\n{self.test}\ncheck({self.entry_point})\n"
        return run_program(program, self.limits)


def load(split: str, folder: Path | None) -> list[Item]:
    """The items of a split, from `folder` or the folder that MIDWORD_EVAL_DATA names. Raises InputError."""
    named = folder or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if named is None:
        raise InputError(f"where is HumanEval-Infilling? Give --data FOLDER or set {DATA_VARIABLE}")
    path = named / f"{SPLITS[split]}.jsonl.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [_item(json.loads(line)) for line in lines if line.strip()]
    except (OSError, EOFError) as error:
        raise InputError(f"cannot read {path}: {error}; expected the benchmark's file of that name") from None
    except (KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not of the benchmark's form ({error})") from None


def _item(fields: dict[str, str]) -> Item:
    prefix, suffix, middle = (fields[name].encode() for name in ("prompt", "suffix", "canonical_solution"))
    return Item(
        item_id=fields["task_id"],
        group=fields["entry_point"],
        kind=_kind(prefix, suffix),
        language="python",
        prefix=prefix,
        suffix=suffix,
        middle=middle,
        path=f"{fields['entry_point']}.py",
        check=Tests(fields["test"], fields["entry_point"], Limits()),
    )


def _kind(prefix: bytes, suffix: bytes) -> str:
    """Whether the cursor and the end of the middle stand inside lines."""
    start = "line start" if not prefix.rpartition(b"\n")[2].strip() else "inside"
    end = "line end" if not suffix.partition(b"\n")[0].strip() else "inside"
    return f"{start} to {end}"
