"""Text that fits between what stands before the cursor and what stands after it (specification, section 7).

The definition of J, which is made as large as possible, is in `engine/endings.py`, with this claim:

    J(m) ≤ P(x) for every beginning x of m.

So the best middle is found by branch and bound. A *dive* decodes greedily from a branch; each of its bytes
leaves an *ending* (the middle may end here) and a *branch* (another byte may come here). Endings with the
greatest bounds are scored, several in one evaluation; then the branch with the greatest bound is
dived into, as long as that is above the best endings and the budget lasts. If it lasts, the result is the
maximum of J over all texts within the line budget, and `Join.open_logp` says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.covers import STOP, CoverSpace, CoverState
from engine.endings import Branch, Ending, branch_of, log_mass, paths_of
from engine.stop import Limits, whole_length
from engine.tree import TokenPath
from engine.types import Completion, Join, StopReason

JOIN_BYTES = 48
"""Most bytes of the suffix that are scored."""
SEARCH_ROUNDS = 10
"""Most model evaluations after the first dive."""
ROUND_ENDINGS = 4
"""Endings that are scored in one evaluation."""
ROUND_ROWS = 24
"""Most rows wanted of one evaluation."""
UNFIT_NATS = 4.0
"""Endings after which the dive does not go on with the join come last, and promise so much less."""


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
    _endings: list[Ending] = field(default_factory=list)
    _branches: list[Branch] = field(default_factory=list)
    _rounds: int = 0
    """Model evaluations that may still be made."""
    _scored: set[TokenPath] = field(default_factory=set)
    """Paths whose rows were asked for here; answers may not depend on what else the cache holds."""

    def search(self, state: CoverState, count: int) -> tuple[list[Completion], Join]:
        """The `count` best middles, none of them empty; fewer if no others can end before the join.

        If the budget was too small to find one: none if nothing may be missing, else the greedy text.
        """
        base = log_mass(state)
        self._scored.update(state.fixed + context.tokens for context in state.contexts)
        self._rounds = self.limits.max_tokens
        greedy = self._dive(state, b"", -np.inf)
        self._rounds = SEARCH_ROUNDS
        while True:
            best = self._settle(count, UNFIT_NATS)
            branch = max(self._branches, key=lambda branch: branch.upper)
            if branch.upper <= _least(best, count) or not self._may_ask():
                break
            self._dive_into(branch, _least(best, count))
        best = self._settle(count, 0.0)
        found = [Completion(e.text, e.lower - base, "end-of-middle") for e in best]
        join = self._joined(best, branch, base)
        return found or ([greedy] if join.nothing_logp is None else []), join

    def _joined(self, best: list[Ending], branch: Branch, base: float) -> Join:
        nothing = next(ending.lower for ending in self._endings if not ending.text)
        uppers = [branch.upper, *(e.upper for e in self._endings if e.text and e not in best)]
        return Join(len(self.join), len(self._endings), _finite(nothing - base), _finite(max(uppers) - base))

    def _may_ask(self) -> bool:
        return self._rounds > 0 and not self.limits.is_overdue()

    def _ask(self, state: CoverState) -> CoverState:
        self._rounds -= 1
        self._scored.update(paths_of(state))
        return state.ask()

    # -- dives ------------------------------------------------------------------------------------

    def _dive_into(self, branch: Branch, least: float) -> None:
        """Takes the best byte that was not tried, once it is known which that is."""
        self._branches.remove(branch)
        if not branch.is_sure:
            pruned = branch.state.pruned
            state = pruned if pruned is not branch.state else self._ask(branch.state)
            self._branches.append(branch_of(branch.text, state, branch.tried))
            return
        self._branches.append(branch_of(branch.text, branch.state, branch.tried | {branch.best}))
        self._dive(branch.state.push(branch.best), branch.text + bytes([branch.best]), least)

    def _dive(self, state: CoverState, text: bytes, least: float) -> Completion:
        """Greedy bytes after `text`, until no text from here on can have a J above `least`."""
        reason: StopReason = "lines"
        while not text or (text.count(b"\n") < self.limits.max_lines and log_mass(state) > least):
            while (best := state.shares.certain_best()) is None:
                if (pruned := state.pruned) is not state:
                    state = pruned
                elif self._may_ask():
                    state = self._ask(state)
                else:
                    break
            self._branches.append(branch_of(text, state, frozenset() if best is None else frozenset({best})))
            if whole_length(text, self.limits.begun) == len(text) and not text.endswith(b"\r"):
                fits = best == (STOP if self.ends_by_stop else self.join[0])
                self._endings.append(Ending(text, state, self.ends_by_stop, fits))
            if best is None or best == STOP:
                reason = "tokens" if best is None else "end-of-middle"
                break
            text, state = text + bytes([best]), state.push(best)
        shown = text.removesuffix(b"\n")
        shown = shown[: whole_length(shown, self.limits.begun)]
        return Completion(shown.rstrip(b"\r"), log_mass(state), reason)

    # -- endings ----------------------------------------------------------------------------------

    def _settle(self, count: int, unfit_nats: float) -> list[Ending]:
        """The `count` best endings that are not empty, best first.

        Endings are scored until these and the empty one are known, and no other promises more; or until
        the budget is spent.
        """
        while True:
            best = sorted((e for e in self._endings if e.text and e.lower > -np.inf), key=lambda e: -e.lower)
            least = _least(best[:count], count)
            promising = [
                e for e in self._endings if not e.is_known and (e.promise(unfit_nats) > least or not e.text)
            ]
            promising.sort(key=lambda e: (not e.fits and unfit_nats > 0, -e.upper))
            unread = [e for e in promising[:ROUND_ENDINGS] if e.there is None]
            if unread:
                self._replace({e: e.read(self.join) for e in unread})
            elif promising and self._may_ask():
                self._score(promising[:ROUND_ENDINGS])
            else:
                return best[:count]

    def _replace(self, new: dict[Ending, Ending]) -> None:
        self._endings = [new.get(ending, ending) for ending in self._endings]

    def _score(self, endings: list[Ending]) -> None:
        """Scores what is pending in `endings`, and the tokens that probably spell their joins."""
        self._rounds -= 1
        paths = [path for ending in endings for path in ending.wanted()]
        paths += [path for ending in endings for path in self._spelled(ending)]
        new = [path for path in dict.fromkeys(paths) if path not in self._scored][:ROUND_ROWS]
        self.space.scorer.rows(new, self.space.stop)
        self._scored.update(new)
        self._replace({ending: ending.asked(self._scored) for ending in endings})

    def _spelled(self, ending: Ending) -> list[TokenPath]:
        """The canonical tokens of the text with the join, as far as no cover of the tail disputes them."""
        settled = ending.here.settled
        before = ending.here.fixed[: len(ending.here.fixed) - len(settled)]
        tokens = self.space.tokenizer.encode(self.tail + ending.text + self.join)
        return [before + tokens[:end] for end in range(len(settled), len(tokens))]


def _least(best: list[Ending], count: int) -> float:
    """What another ending must have more than to be one of the `count` best."""
    return best[-1].lower if len(best) == count else -np.inf


def _finite(log: float) -> float | None:
    return log if np.isfinite(log) else None
