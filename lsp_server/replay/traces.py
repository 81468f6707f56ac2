"""Keystroke traces, made from real source files: the same file and seed give the same trace.

A trace takes some pieces out of a file, its *holes*, and types them back: with the timing of a practised
typist, slips that are taken back, rests, pastes that are undone, and jumps from one hole to the next. So what
the user is going to type is known, and with it which completions are right: the user takes those, as a whole,
by the word or by the line, at moments that the seed decides.

Timing: the logarithm of the time between two keys is about normal. Median 130 ms inside a word, 190 ms at the
start of one, 420 ms at the start of a line (means of Dhakal et al., "Observations on Typing from 136 Million
Keystrokes", CHI 2018, are 239 ms over all typists and 120 ms for the fast ones).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from engine.errors import InputError

Kind = Literal["move", "type", "slip", "take-back", "accept-whole", "accept-word", "accept-line",
               "paste", "undo"]  # fmt: skip
ACCEPTS = ("accept-whole", "accept-word", "accept-line")
SLIP_SHARE = 0.02
REST_SHARE = 0.03
ACCEPT_SHARE = 0.12
PASTE_SHARE = 0.3
MID_LINE_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Event:
    """One action of the user, `wait_ms` after the one before.

    `index` counts characters of the hole that are there before the action. An acceptance happens only if what
    is shown is what the user was going to type; otherwise nothing happens.
    """

    kind: Kind
    wait_ms: float
    index: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Hole:
    """Characters `start` to `end` of the file, and how they are typed back."""

    start: int
    end: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """A file and its holes, in the order in which they are filled."""

    name: str
    text: str
    holes: tuple[Hole, ...]

    @property
    def actions(self) -> int:
        """Number of events."""
        return sum(len(hole.events) for hole in self.holes)


def make_trace(name: str, text: str, keys: int, seed: int) -> Trace:
    """A trace of about `keys` actions; line ends become `\\n`.

    Raises InputError if the file has no lines to take out.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    source = random.Random(f"{seed} {name}")
    spans = _spans(text, source)
    holes: list[Hole] = []
    done = 0
    for start, end in spans:
        events = tuple(_events(text, start, end, source))
        holes.append(Hole(start, end, events))
        done += len(events)
        if done >= keys:
            break
    if not holes:
        raise InputError(f"{name} has no lines that could be typed again; choose a file of some length")
    return Trace(name, text, tuple(holes))


def _spans(text: str, source: random.Random) -> list[tuple[int, int]]:
    """Pieces to take out, in random order, at least three lines apart."""
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    numbers = [n for n in range(1, len(starts) - 4) if len(text[starts[n] : starts[n + 1]].strip()) >= 12]
    source.shuffle(numbers)
    taken: set[int] = set()
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if taken.intersection(range(number - 3, number + 7)):
            continue
        taken.update(range(number, number + 4))
        span = _inside_line if source.random() < MID_LINE_SHARE else _whole_lines
        spans.append(span(text, starts, number, source))
    return spans


def _whole_lines(text: str, starts: list[int], number: int, source: random.Random) -> tuple[int, int]:
    """From a line's end to the end of the next, or of some lines further on."""
    last = number + source.choice((0, 0, 1, 2))
    return starts[number] - 1, len(text[: starts[last + 1]].rstrip("\n"))


def _inside_line(text: str, starts: list[int], number: int, source: random.Random) -> tuple[int, int]:
    """A piece of a line with text on its right."""
    line = text[starts[number] : starts[number + 1]].rstrip()
    indent = len(line) - len(line.lstrip())
    first = source.randrange(indent, len(line) - 6)
    last = source.randrange(first + 3, min(len(line) - 1, first + 25) + 1)
    return starts[number] + first, starts[number] + last


def _events(text: str, start: int, end: int, source: random.Random) -> Iterator[Event]:
    hole = text[start:end]
    yield Event("move", source.uniform(600, 1500), 0)
    index = 0
    while index < len(hole):
        piece = _keystroke(hole, index)
        wait_ms = _wait_ms(text, start + index, source)
        if index and source.random() < ACCEPT_SHARE:
            yield Event(source.choices(ACCEPTS, (5, 2, 1))[0], source.uniform(250, 700), index)  # type: ignore[arg-type]
        if source.random() < SLIP_SHARE:
            yield Event("slip", wait_ms, index, source.choice("asdfjkl;"))
            yield Event("take-back", source.uniform(150, 350), index)
        yield Event("type", wait_ms, index, piece)
        index += len(piece)
    if source.random() < PASTE_SHARE:
        line = text[text.rfind("\n", 0, start) + 1 : start].strip() or "pass"
        yield Event("paste", source.uniform(400, 900), len(hole), f"\n{line}")
        yield Event("undo", source.uniform(700, 1200), len(hole))


def _keystroke(hole: str, index: int) -> str:
    """What one key adds: a character, or a line end with the indentation that the editor adds to it."""
    if hole[index] != "\n":
        return hole[index]
    following = hole[index + 1 :]
    return "\n" + following[: len(following) - len(following.lstrip(" \t"))]


def _wait_ms(text: str, offset: int, source: random.Random) -> float:
    if source.random() < REST_SHARE:
        return source.uniform(1000, 2500)
    before = text[offset - 1] if offset else "\n"
    median = 420 if before == "\n" else 130 if before.isalnum() or before == "_" else 190
    return min(2000.0, median * source.lognormvariate(0, 0.35))
