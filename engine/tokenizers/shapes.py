"""Text reduced to what a pretokenizer can tell apart.

Every expression is built from a few character sets only. Two characters that belong to the same of these
sets are the same *atom*:

    Claim. Replacing a character by another of its atom moves no boundary.
    Proof. A match tests characters through these sets and in no other way.

    Claim. A run of more than four equal atoms that are not *counted* (cut one by one, or in threes) is cut
    like a run of four, with the two first and the two last standing for their ends.
    Proof. The expressions look at most two characters back (a contraction) or one ahead (`(?!\\S)`), and
    repeat sets that are not counted without an upper bound.

    Claim. Unless one of the last two characters of a context is an apostrophe, letters of contractions that
    stand first behind it are like any others.
    Proof. A contraction is an apostrophe and at most two letters.

So the cuts of a long text near its end follow from a short string of representatives, its *shape*.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import regex

from engine.tokenizers.expressions import Expressions
from engine.tokenizers.utf8 import completion_span

_CONTRACTION_LETTERS = "stremvld"
_FIRST = "aA1 \n\t.'" + _CONTRACTION_LETTERS + _CONTRACTION_LETTERS.upper()
"""Characters that stand for their atoms, in this order; of other atoms the first one seen does."""
_SEPARATOR = "\ue000"


class _Representatives(dict[int, int]):
    """Code point → code point of its atom's representative, filled on demand (for str.translate)."""

    def __init__(self, sets: Sequence[str]) -> None:
        super().__init__()
        self._sets = [regex.compile(pattern) for pattern in sets]
        self._by_atom: dict[tuple[bool, ...], int] = {}
        for char in _FIRST:
            self[ord(char)]

    def __missing__(self, code_point: int) -> int:
        char = chr(code_point)
        atom = tuple(bool(s.match(char)) for s in self._sets)
        representative = self._by_atom.setdefault(atom, code_point)
        self[code_point] = representative
        return representative


class _Folded(dict[int, int]):
    """Code point → that of its atom's representative, `others` standing for some (for str.translate)."""

    def __init__(self, representatives: _Representatives, others: dict[int, int]) -> None:
        super().__init__()
        self._representatives, self._others = representatives, others

    def __missing__(self, code_point: int) -> int:
        representative = self._representatives[code_point]
        self[code_point] = found = self._others.get(representative, representative)
        return found


class Shapes:
    """The shapes of one family's expressions."""

    def __init__(self, expressions: Expressions) -> None:
        letters = _CONTRACTION_LETTERS if expressions.contractions else ""
        self._sets = (
            *expressions.sets,
            *(["[']"] if letters else []),
            *(f"(?i:{letter})" for letter in letters),
            *(f"[{letter}]" for letter in letters),
        )
        self._representatives = _Representatives(self._sets)
        counted = rf"(?!{expressions.counted})" if expressions.counted else ""
        self._run = regex.compile(rf"{counted}(.)\1{{4,}}", regex.DOTALL)
        self._far = [
            (_far_letter(case, within_token), letter)
            for case, letter in self._far_letters(letters)
            for within_token in (True, False)
        ]
        far = {ord(c): ord(to) for letters, to in self._far_letters(letters) for c in letters}
        self._without_apostrophe = _Folded(self._representatives, far)
        self.completions_of = lru_cache(maxsize=512)(self._completions_of)
        self._shape_of = lru_cache(maxsize=4096)(self._find_shape)

    def _representative(self, char: str) -> str:
        return chr(self._representatives[ord(char)])

    def _far_letters(self, letters: str) -> list[tuple[str, str]]:
        """`letters` of contractions, small and capital, each with what stands for them elsewhere."""
        return [(letters, "a"), (letters.upper(), self._representative("A"))] if letters else []

    def atoms_of(self, text: str) -> str:
        """`text` with every character replaced by its atom's representative; the length stays."""
        return text.translate(self._representatives)

    def word_shapes(self, texts: Sequence[str], *, reached: bool) -> list[str]:
        """The shapes of many short texts that may follow any context.

        Letters of contractions stay apart where an apostrophe stands before them, or may do so in a
        context that `reaches_on`, if the texts are `reached` by one.
        """
        atoms, joined, start = self.atoms_of("".join(texts)), [], 0
        for text in texts:
            joined.append(atoms[start : start + len(text)])
            start += len(text)
        all_atoms = _SEPARATOR + _SEPARATOR.join(joined)
        for pattern, letter in self._far[not reached :: 2]:
            all_atoms = pattern.sub(letter, all_atoms)
        reduced: str = self._run.sub(r"\1\1\1\1", all_atoms)
        return reduced.split(_SEPARATOR)[1:] if texts else []

    def joined(self, left: str, right: str) -> str | None:
        """The shape of texts of these shapes beside each other; None if that depends on their letters."""
        if self._far and "'" in left + right:
            return None
        shape: str = self._run.sub(r"\1\1\1\1", left + right)
        return shape

    def reaches_on(self, shape: str) -> bool:
        """Whether a contraction may begin in a context of this shape and end behind it."""
        return bool(self._far) and "'" in shape[-2:]

    def folded(self, text: str) -> str:
        """`atoms_of` a text that nothing stands before, by letters like any others where no contraction is.

        It is cut like the text, and the same for many.
        """
        if not self._far or "'" not in text:
            return text.translate(self._without_apostrophe)
        atoms = self.atoms_of(text)
        for pattern, letter in self._far[1::2]:
            atoms = pattern.sub(letter, atoms)
        return atoms

    def context_shape(self, text: str) -> tuple[str, tuple[int, ...]]:
        """The shape of a context's end, and for each boundary in it the position in `text`.

        `positions[k]` is the character position in `text` of the boundary before shape character k;
        one more entry stands for the end.
        """
        return self._shape_of(self.folded(text))

    def _find_shape(self, atoms: str) -> tuple[str, tuple[int, ...]]:
        """`context_shape` of a text by its folded atoms."""
        shape, positions, start = [], [], 0
        for run in self._run.finditer(atoms):
            first, last = run.span()
            shape.append(atoms[start : first + 2] + atoms[last - 2 : last])
            positions += [*range(start, first + 2), *range(last - 2, last)]
            start = last
        shape.append(atoms[start:])
        positions += range(start, len(atoms) + 1)
        return "".join(shape), tuple(positions)

    def _completions_of(self, partial: bytes) -> tuple[str, ...]:
        """One character for each atom that some completion of the UTF-8 beginning `partial` has."""
        span = completion_span(partial)
        if span is None:
            return ()
        text = "".join(map(chr, range(span[0], span[1] + 1)))
        atoms = [0] * len(text)
        for bit, pattern in enumerate(self._sets):
            for match in regex.finditer(pattern, text):
                atoms[match.start()] |= 1 << bit
        found: dict[int, str] = {}
        for atom, char in zip(atoms, text, strict=True):
            if atom not in found and not "\ud800" <= char <= "\udfff":
                found[atom] = char
        return tuple(found.values())


def _far_letter(letters: str, within_token: bool) -> regex.Pattern[str]:
    """A letter of a contraction that no contraction reaches; at a token's start any may be reached."""
    near = rf"(?<!{_SEPARATOR})(?<!{_SEPARATOR}.)" if within_token else ""
    return regex.compile(rf"(?<!')(?<!'.){near}[{letters or _SEPARATOR}]", regex.DOTALL)
