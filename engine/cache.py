"""The rows a model has already given: log-probabilities by token path, least recently used first to go."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from engine.backends.base import Backend, StopSignal
from engine.drafts.drafter import Drafter, Root
from engine.tree import ROOT, TokenPath, TokenTree, common_prefix_length, tree_of
from engine.vocab import FloatArray

ROW_BUDGET_BYTES = 32 * 2**20
LARGEST_TREE = 48
"""Most nodes wanted of one evaluation; larger trees are scored in parts."""
NO_TREE = TokenTree((), ())
MOST_LEAVES = 16
"""Most leaves of a tree: half of a backend's sequences, as each may need one to copy from."""


class Scorer:
    """Scores token paths on a backend; a path that was scored before costs nothing."""

    def __init__(
        self, backend: Backend, budget_bytes: int = ROW_BUDGET_BYTES, drafter: Drafter | None = None
    ) -> None:
        """With a `drafter`, rows that will probably be asked for next are scored beside those that are."""
        self.backend = backend
        self.drafter = drafter
        self._rows = OrderedDict[TokenPath, FloatArray]()  # the least recently used first
        self._most = max(LARGEST_TREE + 1, budget_bytes // (8 * backend.vocab_size))

    def __contains__(self, path: TokenPath) -> bool:
        """Whether the row after `path` costs nothing now."""
        return path in self._rows

    def rows(
        self, paths: Sequence[TokenPath], stop: StopSignal, roots: Sequence[Root] = ()
    ) -> list[FloatArray]:
        """(vocab_size,) natural log-probabilities of the token after each path.

        All paths that are not cached are scored as one tree in one evaluation, with a draft of what may
        follow the `roots`. Raises as `Backend.score`; a path may not be empty.
        """
        if len(paths) == 1 and not self.drafter:
            return [self._row(paths[0], stop)]
        found = [self._rows.get(path) for path in paths]
        if self.drafter and roots:
            for path in paths:
                self.drafter.asked(path)
        missing = [path for path, row in zip(paths, found, strict=True) if row is None]
        if missing:
            missing = sorted(set(missing)) if len(missing) > 1 else missing
            for part in _parts(self._with_draft(missing, roots) if self.drafter and roots else missing):
                self._score(part, stop)
        for path in paths:
            self._rows.move_to_end(path)
        result = [self._rows[path] if row is None else row for path, row in zip(paths, found, strict=True)]
        self._drop_surplus()
        return result

    def _row(self, path: TokenPath, stop: StopSignal) -> FloatArray:
        """`rows` of one path, without a draft."""
        row = self._rows.get(path)
        if row is not None:
            self._rows.move_to_end(path)
            return row
        (row,) = self.backend.score(path, NO_TREE, (ROOT,), stop)
        self._rows[path] = row
        self._drop_surplus()
        return row

    def _drop_surplus(self) -> None:
        while len(self._rows) > self._most:
            self._rows.popitem(last=False)

    def _with_draft(self, missing: list[TokenPath], roots: Sequence[Root]) -> list[TokenPath]:
        """`missing`, and drafted paths that fit into one evaluation with them."""
        assert self.drafter is not None
        if len(list(_parts(missing))) > 1:
            return missing
        room = _Room(missing)

        def is_known(path: TokenPath) -> bool:
            return path in self._rows or any(len(other) == len(path) and other == path for other in missing)

        return sorted([*missing, *self.drafter.draft(roots, is_known, room.take)])

    def _score(self, paths: list[TokenPath], stop: StopSignal) -> None:
        """Scores the sorted `paths` in one evaluation, and keeps their rows."""
        shared = common_prefix_length(paths)
        context = paths[0][:shared]
        tree, ends = tree_of([path[shared:] for path in paths])
        began, tokens = time.perf_counter(), self.backend.tokens_evaluated
        rows = self.backend.score(context, tree, ends, stop)
        if self.drafter:
            spent_ms = (time.perf_counter() - began) * 1000
            self.drafter.costs.note(self.backend.tokens_evaluated - tokens, spent_ms)
            for path, row in zip(paths, rows, strict=True):
                self.drafter.scored(path, row)
        self._rows.update(zip(paths, rows, strict=True))


class _Room:
    """What one evaluation can still hold beside the paths that were taken."""

    def __init__(self, paths: Sequence[TokenPath]) -> None:
        """`paths` are taken already."""
        self._taken = list(paths)

    def take(self, path: TokenPath) -> bool:
        """Takes one path more; False if there is no room for it."""
        more = [*self._taken, path]
        if len(more) > LARGEST_TREE or (len(more) > MOST_LEAVES and _leaves(sorted(more)) > MOST_LEAVES):
            return False
        self._taken = more
        return True


def _leaves(paths: Sequence[TokenPath]) -> int:
    """How many of the sorted `paths` no other one goes on from."""
    return sum(following[: len(path)] != path for path, following in pairwise([*paths, ()]))


def _parts(paths: list[TokenPath]) -> Iterator[list[TokenPath]]:
    """Sorted `paths` in runs of at most LARGEST_TREE nodes and MOST_LEAVES leaves."""
    if len(paths) <= MOST_LEAVES:
        yield paths
        return
    part: list[TokenPath] = []
    leaves = 0
    for path, following in pairwise([*paths, ()]):
        part.append(path)
        leaves += following[: len(path)] != path
        if leaves == MOST_LEAVES or len(part) == LARGEST_TREE:
            yield part
            part, leaves = [], 0
    if part:
        yield part
