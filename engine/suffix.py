"""Text that fits between what stands before the cursor and what stands after it (specification, section 7).

The definition of J, which is made as large as possible, is in `engine/endings.py`, with this claim:

    J(m) ≤ P(x) for every beginning x of m.

So the best middle is found by branch and bound: what is bounded below the best known one is not looked at.
What is open are *branches* (another byte may come here) and *endings* (the middle may end here). Their order
is best first, not by their bounds, which all are far above any J while the join has not been read, but by an
estimate: the join goes on about as likely as it did in the best middle so far. The estimates decide
what is looked at first, and that nothing is that promises DOUBT_NATS less than what was found; they never
enter a bound. `Join.open_logp` bounds all that was not looked at: if it is below what was found, that is the
maximum of J over all texts within the line budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import numpy as np

from engine.covers import CoverSpace, CoverState
from engine.endings import Branch, Ending
from engine.stop import Limits, whole_length
from engine.tree import TokenPath
from engine.types import Completion, Join

JOIN_BYTES = 48
"""Most bytes of the suffix that are scored."""
SEARCH_ROWS = 200
"""No evaluation follows once so many rows were asked for."""
SEARCH_EVALUATIONS = 60
"""Most model evaluations."""
FIRST_ROWS = 100
"""After so many rows without a known ending, endings alone are looked at until there is one, by what was
seen of the join alone."""
VAIN_ROWS = 30
"""No evaluation follows once so many rows found nothing better than what was known before them."""
ROUND_ROWS = 16
"""Most rows asked of one evaluation."""
ROUND_NATS = 1.5
"""What promises so much less than the best is not asked about in the same evaluation."""
DOUBT_NATS = 2.0
"""What promises so much less than what was found is not asked about at all."""
DEPTH = 4
"""Tokens of the join that are scored at once behind the most promising ending, when another is known."""
FIRST_NATS, BYTE_NATS = 1.0, 0.3
"""What a join costs before anything is known of it, and each of its bytes."""

Heap = list[tuple[float, int, Branch | Ending]]


def join_of(suffix: bytes, missing_bytes: frozenset[int]) -> bytes:
    """The join: `suffix` to the end of its first line that is not blank.

    It has at most JOIN_BYTES, whole characters, and ends before the first byte that cannot be expressed.
    """
    start = len(suffix) - len(suffix.lstrip())
    line_end = suffix.find(b"\n", start) + 1
    join = suffix[: line_end or len(suffix)][:JOIN_BYTES]
    found = [place for byte in missing_bytes if (place := join.find(byte)) >= 0]
    join = join[: min(found, default=len(join))]
    return join[: whole_length(join)]


def is_inside_line(suffix: bytes) -> bool:
    """Whether text that is not blank stands right of the cursor on its line."""
    return bool(suffix.partition(b"\n")[0].strip())


@dataclass(slots=True)
class SuffixSearch:
    """Looks for the middles of greatest J. One use each."""

    space: CoverSpace
    limits: Limits
    tail: bytes
    """What the states' covers cover."""
    join: bytes
    """Not empty."""
    ends_by_stop: bool
    """Whether the model was shown the suffix, so that its stop tokens end the middle."""
    _endings: dict[bytes, Ending] = field(default_factory=dict)
    _branches: dict[bytes, Branch] = field(default_factory=dict)
    _evaluations: int = 0
    _rows: int = 0
    _scored: set[TokenPath] = field(default_factory=set)
    """Paths whose rows were asked for here; answers may not depend on what else the cache holds."""
    _pushed: int = 0
    """Items put in order so far: of equal ones the older comes first."""
    _best: list[Ending] = field(default_factory=list)
    """Those of greatest J among the endings that are not empty, best first."""
    _rows_of_best: int = 0
    """Rows that had been asked for when these were found."""

    def search(self, state: CoverState, count: int) -> tuple[list[Completion], Join]:
        """The `count` best middles, none of them empty; fewer if no others can end before the join.

        If the budget was too small to find one: none if nothing may be missing, else what comes first.
        """
        base = state.log_total
        self._scored.update(state.fixed + context.tokens for context in state.contexts)
        self._add(b"", state)
        while (paths := self._gather(count)) and self._may_ask():
            self._evaluations += 1
            self._rows += len(paths)
            self.space.scorer.rows(paths, self.space.stop)
            self._scored.update(paths)
        found = [Completion(e.text, e.lower - base, "end-of-middle") for e in self._best]
        join = self._joined(base)
        return found or ([self._longest(base)] if join.nothing_logp is None else []), join

    def _joined(self, base: float) -> Join:
        nothing = self._endings[b""]
        first = self._best[0].lower if self._best else -np.inf
        uppers = [branch.upper for branch in self._branches.values()]
        uppers += [e.upper for e in self._endings.values() if e.text and e not in self._best]
        return Join(
            suffix_bytes=len(self.join),
            endings=len(self._endings),
            nothing_logp=_finite((nothing.upper if nothing.upper <= first else nothing.lower) - base),
            open_logp=_finite(max(uppers) - base),
        )

    def _longest(self, base: float) -> Completion:
        text, branch = max(self._branches.items(), key=lambda item: len(item[0]))
        shown = text[: whole_length(text, self.limits.begun)].rstrip(b"\r\n")
        return Completion(shown, branch.state.log_total - base, "tokens")

    def _may_ask(self) -> bool:
        in_vain = self._best and self._rows - self._rows_of_best >= VAIN_ROWS
        spent = in_vain or self._evaluations >= SEARCH_EVALUATIONS or self._rows >= SEARCH_ROWS
        return not spent and not self.limits.is_overdue()

    # -- looking further --------------------------------------------------------------------------

    def _gather(self, count: int) -> list[TokenPath]:
        """The rows to ask for next, of what promises most; none if the search is over.

        Whatever goes on without the model does so first.
        """
        paths: dict[TokenPath, None] = {}
        waiting: set[Branch | Ending] = set()
        least, rest = self._outlook(count)
        heap, floor = self._heap(least, rest, waiting), least - DOUBT_NATS
        while len(paths) < ROUND_ROWS and heap:
            negative, _, item = heappop(heap)
            if -negative < floor:
                break
            if rows := self._missing(item):
                floor = max(floor, -negative - ROUND_NATS)
                waiting.add(item)
                paths |= dict.fromkeys(rows if paths else self._deeper(item, rows))
                continue
            advanced = self._advance(item)
            if any(isinstance(new, Ending) and self._is_news(new, item, least) for new in advanced):
                before, (least, rest) = (least, rest), self._outlook(count)
                if (least, rest) != before:
                    heap, floor = self._heap(least, rest, waiting), max(floor, least - DOUBT_NATS)
                    continue
            for other in advanced:
                self._push(heap, other, least, rest)
        return list(paths)[:ROUND_ROWS]

    def _is_news(self, ending: Ending, before: Branch | Ending, least: float) -> bool:
        """Whether the outlook may change with this ending, which was another `before` or none."""
        if self._best:
            return ending.lower > least
        was_begun = isinstance(before, Ending) and before.is_begun
        return ending.there is not None and (ending.is_begun or was_begun)

    def _heap(self, least: float, rest: Sequence[float], without: set[Branch | Ending]) -> Heap:
        items: list[Branch | Ending] = [*self._branches.values(), *self._endings.values()]
        heap: Heap = [
            (-item.estimate(rest), number, item)
            for number, item in enumerate(items, self._pushed)
            if item.upper > least and not item.is_known and item not in without
        ]
        if not self._best and self._rows >= FIRST_ROWS:
            heap = [entry for entry in heap if isinstance(entry[2], Ending) and entry[2].text] or heap
        self._pushed += len(items)
        heapify(heap)
        return heap

    def _push(self, heap: Heap, item: Branch | Ending, least: float, rest: Sequence[float]) -> None:
        """Puts an item in its place by what it promises, unless it is known or cannot be above `least`."""
        if item.upper > least and not item.is_known:
            heappush(heap, (-item.estimate(rest), self._pushed, item))
            self._pushed += 1

    def _missing(self, item: Branch | Ending) -> list[TokenPath]:
        """The rows without which there is no going on; none if it is known already how."""
        return [path for path in item.wanted() if path not in self._scored]

    def _advance(self, item: Branch | Ending) -> list[Branch | Ending]:
        """Looks further, as far as that takes no row; what has changed or come up."""
        if isinstance(item, Ending):
            ending = item.advanced(self.join)
            while not ending.is_known and not self._missing(ending):
                ending = ending.advanced(self.join)
            self._endings[ending.text] = ending
            return [ending]
        if not item.is_sure:
            self._branches[item.text] = branch = item.advanced()
            return [branch]
        self._branches[item.text] = rest = item.without_best()
        return [rest, *self._add(item.text + bytes([item.best]), item.state.push(item.best))]

    def _add(self, text: bytes, state: CoverState) -> list[Branch | Ending]:
        """A text that the middle may start with, or be."""
        if text.count(b"\n") >= self.limits.max_lines:
            return []
        self._branches[text] = branch = Branch(text, state)
        if whole_length(text, self.limits.begun) < len(text) or text.endswith(b"\r"):
            return [branch]
        self._endings[text] = ending = Ending(text, state, self.ends_by_stop)
        return [branch, ending]

    def _deeper(self, item: Branch | Ending, new: list[TokenPath]) -> list[TokenPath]:
        """`new` and, behind an ending, the tokens that probably spell the join.

        All of them as long as no ending is known: one that is known bounds the rest.
        """
        if isinstance(item, Branch):
            return new
        spelled = [path for path in self._spelled(item) if path not in self._scored and path not in new]
        return (new + spelled)[: DEPTH if self._best else ROUND_ROWS]

    def _spelled(self, ending: Ending) -> list[TokenPath]:
        """The canonical tokens of the text with the join, as far as no cover of the tail disputes them."""
        settled = ending.here.settled
        before = ending.here.fixed[: len(ending.here.fixed) - len(settled)]
        tokens = self.space.tokenizer.encode(self.tail + ending.text + self.join)
        return [before + tokens[:end] for end in range(len(settled), len(tokens))]

    # -- what to expect ---------------------------------------------------------------------------

    def _outlook(self, count: int) -> tuple[float, list[float]]:
        """What another ending must have more than to be one of the `count` best; how the join may go on.

        The latter is (join bytes + 1,) natural logs, by the byte from which on. Before an ending is known,
        what was seen of the join behind the most promising one counts the more, the more was spent.
        """
        known = [e for e in self._endings.values() if e.text and e.lower > -np.inf]
        best = sorted(known, key=lambda e: -e.lower)[:count]
        if [e.text for e in best] != [e.text for e in self._best]:
            self._rows_of_best = self._rows
        self._best = best
        length = len(self.join)
        if self._best:
            rest = self._best[0].rest(length, self._best[0].lower)
        else:
            rest = -FIRST_NATS - BYTE_NATS * np.arange(length, -1.0, -1.0)
            rest[-1] = 0.0
            costs = rest.tolist()
            begun = [e for e in self._endings.values() if e.is_begun]
            if first := max(begun, key=lambda e: e.estimate(costs), default=None):
                share = min(1.0, self._rows / FIRST_ROWS)
                rest += share * (first.rest(length, first.estimate(costs)) - rest)
        return _least(self._best, count), rest.tolist()


def _least(best: Sequence[Ending], count: int) -> float:
    return best[-1].lower if len(best) == count else -np.inf


def _finite(log: float) -> float | None:
    return log if np.isfinite(log) else None
