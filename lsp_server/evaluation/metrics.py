"""What a completion is worth: pure functions of an item and a text, and bootstrap intervals."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.vocab import FloatArray
from lsp_server.evaluation.grammar import syntax_errors
from lsp_server.evaluation.items import Item
from lsp_server.postprocess import rest_of_line

DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one completion. Shares are 0 or 1; None where a question does not arise."""

    exact: float
    """The middle, but for white space at its end."""
    token: float | None
    """It starts with the rest of the token at the cursor, which ends there."""
    similarity: float
    """1 − edit distance / length of the longer text, in characters."""
    wasted: int
    """Characters that would have to be taken back: all after the first wrong one."""
    doubled: float | None
    """It ends with what stands after the cursor on the line, or on the next one, and should not: the middle
    does not, and the document does not need it."""
    indentation: float | None
    """Python complains about the indentation of the whole document, as it did not before."""
    syntax: float | None
    """Tree-sitter finds more errors than in the original document."""
    passed: float | None
    """The item's own tests pass."""


def scores_of(item: Item, text: bytes, *, passed: bool | None) -> Scores:
    """All scores of `text` at the item's cursor."""
    middle, document = item.middle, item.prefix + text + item.suffix
    original = item.prefix + middle + item.suffix
    new, old = (syntax_errors(item.language, source) for source in (document, original))
    doubled = doubles_suffix(text, middle, item.suffix)
    is_python = item.language == "python"
    return Scores(
        exact=float(text.rstrip() == middle.rstrip()),
        token=float(continues_token(text, item.token_rest)) if item.token_rest else None,
        similarity=similarity(text.decode("utf-8", "replace"), middle.decode("utf-8", "replace")),
        wasted=wasted_chars(text, middle),
        doubled=0.0 if doubled and needs_end(item, text) else doubled,
        indentation=float(indents_wrong(document) and not indents_wrong(original)) if is_python else None,
        syntax=None if new is None or old is None else float(new > old),
        passed=None if passed is None else float(passed),
    )


def continues_token(text: bytes, rest: bytes) -> bool:
    """Whether `text` starts with `rest`, and a word does not go on behind it."""
    last, following = rest.decode("utf-8", "replace")[-1:], text[len(rest) :].decode("utf-8", "replace")[:1]
    return text.startswith(rest) and not (_is_word(last) and _is_word(following))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def similarity(text: str, middle: str) -> float:
    """1 − Levenshtein distance / length of the longer text; 1 for two empty ones."""
    row = list(range(len(middle) + 1))
    for number, char in enumerate(text, 1):
        above, row[0] = row[0], number
        for place, other in enumerate(middle, 1):
            above, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, above + (char != other))
    return 1 - row[-1] / max(len(text), len(middle), 1)


def wasted_chars(text: bytes, middle: bytes) -> int:
    """Characters of `text` after its longest common beginning with `middle`."""
    shown, wanted = text.decode("utf-8", "replace"), middle.decode("utf-8", "replace")
    common = next((n for n, (a, b) in enumerate(zip(shown, wanted, strict=False)) if a != b), None)
    return len(shown) - (min(len(shown), len(wanted)) if common is None else common)


def doubles_suffix(text: bytes, middle: bytes, suffix: bytes) -> float | None:
    """Whether `text` ends with the text that follows the cursor, while `middle` does not.

    None if nothing follows.
    """
    if not (following := _following(suffix)):
        return None
    return float(text.rstrip().endswith(following) and not middle.rstrip().endswith(following))


def needs_end(item: Item, text: bytes) -> bool:
    """Whether a `text` that doubles the suffix must: without it there are more errors.

    So it is with the `)` of `f(` + `g(x)` + `)`, or with an indented `return None` before another.
    """
    shorter = text.rstrip().removesuffix(_following(item.suffix))
    whole, cut = (item.prefix + middle + item.suffix for middle in (text, shorter))
    new, old = (syntax_errors(item.language, source) for source in (cut, whole))
    if new is None or old is None:
        return False
    return new > old or (item.language == "python" and indents_wrong(cut) and not indents_wrong(whole))


def _following(suffix: bytes) -> bytes:
    """The rest of the line, or the next line that is not blank."""
    return rest_of_line(suffix).strip() or suffix.strip().partition(b"\n")[0].strip()


def indents_wrong(source: bytes) -> bool:
    """Whether Python's parser stops at the indentation."""
    try:
        ast.parse(source)
    except IndentationError:
        return True
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return False


def interval(values: Sequence[float], groups: Sequence[str], seed: int) -> tuple[float, float]:
    """95 % interval of the mean: bootstrap over groups, whose values are drawn together."""
    sums: dict[str, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        total = sums.setdefault(group, [0.0, 0.0])
        total[0] += value
        total[1] += 1
    table: FloatArray = np.array(list(sums.values()))
    picks = np.random.default_rng(seed).integers(len(table), size=(DRAWS, len(table)))
    drawn = table[picks].sum(axis=1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return float(low), float(high)
