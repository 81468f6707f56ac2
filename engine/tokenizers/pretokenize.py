"""Pretokenizers: the regular expressions that cut a text into the words inside which BPE merges.

Every expression is built from a few character sets only (letters, numbers, white space, single
characters). Two characters that belong to the same of these sets are the same *atom*:

    Claim. Replacing a character by another of its atom moves no boundary.
    Proof. A match tests characters through these sets and in no other way.

    Claim. A run of more than four equal atoms that are not digits is cut like a run of four, with
    the two first and the two last standing for their ends.
    Proof. The expressions look at most two characters back (a contraction) or ahead (`(?!\\S)`),
    and repeat sets other than digits without an upper bound.

So the cuts of a long text near its end follow from a short string of representatives, its *shape*.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import regex

from engine.errors import ModelUnsupported

_S, _NOT_S = r"\p{White_Space}", r"\P{White_Space}"
_CONTRACTION = r"'s|'t|'re|'ve|'m|'ll|'d"
_GPT2 = rf"{_CONTRACTION}| ?\p{{L}}+| ?\p{{N}}+| ?[^{_S}\p{{L}}\p{{N}}]+|{_S}+(?!{_NOT_S})|{_S}+"


def _qwen(digits: str) -> str:
    return (
        rf"(?i:{_CONTRACTION})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}"
        rf"| ?[^{_S}\p{{L}}\p{{N}}]+[\r\n]*|{_S}*[\r\n]+|{_S}+(?!{_NOT_S})|{_S}+"
    )


_DIGIT = r"\p{N}"
STAGES: dict[str, tuple[str, ...]] = {
    "none": (),
    "gpt-2": (_GPT2,),
    "starcoder": (_DIGIT, _GPT2),
    "qwen2": (_qwen(_DIGIT),),
}
"""Name → expressions, each applied inside the pieces that the one before has left."""

GGUF_NAMES: dict[str, str] = {
    "gpt-2": "gpt-2", "phi-2": "gpt-2", "jina-es": "gpt-2", "mpt": "gpt-2", "olmo": "gpt-2",
    "starcoder": "starcoder", "refact": "starcoder", "command-r": "starcoder", "smollm": "starcoder",
    "codeshell": "starcoder", "exaone": "starcoder", "minerva-7b": "starcoder",
    "qwen2": "qwen2", "deepseek-r1-qwen": "qwen2", "stablelm2": "qwen2", "megrez": "qwen2",
}  # fmt: skip
"""`tokenizer.ggml.pre` → name in STAGES."""

LETTER, DIGIT = "a", "1"
_CONTRACTION_LETTERS = "stremvld"
_ATOM_SETS = (
    r"\p{L}", r"\p{N}", _S, "[ ]", "[']", r"[\r\n]",
    *(f"(?i:{letter})" for letter in _CONTRACTION_LETTERS),
    *(f"[{letter}]" for letter in _CONTRACTION_LETTERS),
)  # fmt: skip
_SPECIAL = "[stremvldSTREMVLD]"
_RUN = regex.compile(r"([^1])\1{4,}")


FOLLOWERS = ("e", "l", "1", ".", "\n")
"""What may follow a text that `may_be_recut`: one text for each way of cutting it."""
_RECUT = regex.compile(r"(?:\p{White_Space}{2}|'[rvl])\Z", regex.IGNORECASE)


def may_be_recut(text: str) -> bool:
    """Whether the words of `text`, its last boundary aside, can depend on what follows.

    White space gives its last character to the word that follows, or takes in more lines; two letters
    make a contraction of "'r", "'v", "'l". No expression in STAGES looks ahead in another way.
    """
    return _RECUT.search(text, max(0, len(text) - 2)) is not None


class Pretokenizer:
    """Cuts text into words and reduces text to shapes. Text is str: invalid bytes are surrogates."""

    def __init__(self, name: str) -> None:
        """Raises ModelUnsupported for a name that is not in STAGES."""
        if name not in STAGES:
            raise ModelUnsupported(
                f"the pretokenizer {name!r} is not known to be exact here; known are {', '.join(STAGES)}"
            )
        self.name = name
        self._stages = [regex.compile(stage) for stage in STAGES[name]]

    def split(self, text: str) -> list[str]:
        """The words of `text`; their concatenation is `text`."""
        pieces = [text] if text else []
        for stage in self._stages:
            pieces = [word for piece in pieces for word in _isolate(stage, piece)]
        return pieces

    def cuts(self, text: str) -> list[int]:
        """End position of every word of `text`, in characters; the last one is `len(text)`."""
        ends, end = [], 0
        for word in self.split(text):
            end += len(word)
            ends.append(end)
        return ends


def pretokenizer_for(gguf_name: str) -> Pretokenizer:
    """The pretokenizer that GGUF metadata call `gguf_name`. Raises ModelUnsupported if it is unknown."""
    if gguf_name not in GGUF_NAMES:
        raise ModelUnsupported(
            f"the model's pretokenizer {gguf_name!r} is not supported yet, so its completions would not be"
            f" exact; supported are {', '.join(sorted(GGUF_NAMES))}"
        )
    return Pretokenizer(GGUF_NAMES[gguf_name])


def _isolate(stage: Any, piece: str) -> list[str]:
    """Matches and the gaps between them, in order (split with behaviour "isolated")."""
    words, end = [], 0
    for match in stage.finditer(piece):
        start, stop = match.span()
        if start > end:
            words.append(piece[end:start])
        words.append(piece[start:stop])
        end = stop
    if end < len(piece):
        words.append(piece[end:])
    return words


class _Representatives(dict[int, int]):
    """Code point → code point of its atom's representative, filled on demand (for str.translate)."""

    def __init__(self) -> None:
        super().__init__()
        self._sets = [regex.compile(pattern) for pattern in _ATOM_SETS]
        self._by_atom: dict[tuple[bool, ...], int] = {}
        for char in LETTER + DIGIT + " \n\t.'" + _CONTRACTION_LETTERS:
            self[ord(char)]

    def __missing__(self, code_point: int) -> int:
        char = chr(code_point)
        atom = tuple(bool(s.match(char)) for s in self._sets)
        representative = self._by_atom.setdefault(atom, code_point)
        self[code_point] = representative
        return representative


_REPRESENTATIVES = _Representatives()


def atoms_of(text: str) -> str:
    """`text` with every character replaced by its atom's representative; the length stays."""
    return text.translate(_REPRESENTATIVES)


_SEPARATOR = "\ue000"
_FAR_LETTER = regex.compile(rf"(?<!')(?<!'.)(?<!{_SEPARATOR})(?<!{_SEPARATOR}.){_SPECIAL}", regex.DOTALL)
_FAR_LETTER_IN_CONTEXT = regex.compile(rf"(?<!')(?<!'.){_SPECIAL}", regex.DOTALL)


def word_shapes(texts: Sequence[str]) -> list[str]:
    """The shapes of many short texts that may follow any context.

    Letters of contractions stay apart where an apostrophe could stand before them.
    """
    atoms, joined, start = atoms_of("".join(texts)), [], 0
    for text in texts:
        joined.append(atoms[start : start + len(text)])
        start += len(text)
    all_atoms = _SEPARATOR + _SEPARATOR.join(joined)
    reduced: str = _RUN.sub(r"\1\1\1\1", _FAR_LETTER.sub(LETTER, all_atoms))
    return reduced.split(_SEPARATOR)[1:]


def context_shape(text: str) -> tuple[str, list[int]]:
    """The shape of a context's end, and for each boundary in it the position in `text`.

    `positions[k]` is the character position in `text` of the boundary before shape character k;
    one more entry stands for the end.
    """
    atoms = _FAR_LETTER_IN_CONTEXT.sub(LETTER, atoms_of(text))
    shape, positions, start = [], [], 0
    for run in _RUN.finditer(atoms):
        first, last = run.span()
        shape.append(atoms[start : first + 2] + atoms[last - 2 : last])
        positions += [*range(start, first + 2), *range(last - 2, last)]
        start = last
    shape.append(atoms[start:])
    positions += range(start, len(atoms) + 1)
    return "".join(shape), positions


def partial_length(text: bytes) -> int:
    """Number of bytes at the end of `text` that begin a UTF-8 character but do not end it (0 to 3)."""
    for back in range(1, min(3, len(text)) + 1):
        lead = text[-back]
        if lead >= 0xC0:
            return back if _completion_span(text[-back:]) else 0
        if lead < 0x80:
            return 0
    return 0


def _completion_span(partial: bytes) -> tuple[int, int] | None:
    """First and last code point whose UTF-8 bytes start with `partial`, None if there is none."""
    lead = partial[0]
    size = 2 if 0xC2 <= lead <= 0xDF else 3 if 0xE0 <= lead <= 0xEF else 4 if 0xF0 <= lead <= 0xF4 else 0
    if len(partial) >= size:
        return None
    bits = lead & (0x7F >> size)
    for byte in partial[1:]:
        bits = bits << 6 | (byte & 0x3F)
    missing = 6 * (size - len(partial))
    low = max(bits << missing, (0, 0, 0x80, 0x800, 0x10000)[size])
    high = min(((bits + 1) << missing) - 1, 0x10FFFF)
    if low >= 0xD800 and high <= 0xDFFF:
        return None
    return (low, high) if low <= high else None


@lru_cache(maxsize=512)
def completions_of(partial: bytes) -> tuple[str, ...]:
    """One character for each atom that some completion of the UTF-8 beginning `partial` has."""
    span = _completion_span(partial)
    if span is None:
        return ()
    text = "".join(map(chr, range(span[0], span[1] + 1)))
    atoms = [0] * len(text)
    for bit, pattern in enumerate(_ATOM_SETS):
        for match in regex.finditer(pattern, text):
            atoms[match.start()] |= 1 << bit
    found: dict[int, str] = {}
    for atom, char in zip(atoms, text, strict=True):
        if atom not in found and not "\ud800" <= char <= "\udfff":
            found[atom] = char
    return tuple(found.values())
