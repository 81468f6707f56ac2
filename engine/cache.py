"""The rows a model has already given: log-probabilities by token path, least recently used first to go."""

from __future__ import annotations

import time
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
        self._rows: dict[TokenPath, FloatArray] = {}  # the least recently used first
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
        missing = sorted({path for path in paths if path not in self._rows})
        if self.drafter and roots:
            for path in paths:
                self.drafter.asked(path)
            missing = self._with_draft(missing, roots) if missing else []
        if not missing:
            return [self._used(path) for path in paths]
        fresh: dict[TokenPath, FloatArray] = {}
        for part in _parts(missing):
            fresh |= self._score(part, stop)
        for path in fresh.keys() - set(paths):
            self._rows[path] = fresh[path]
        result = [fresh[path] if path in fresh else self._rows[path] for path in paths]
        for path, row in zip(paths, result, strict=True):
            self._keep(path, row)
        self._drop_surplus()
        return result

    def _row(self, path: TokenPath, stop: StopSignal) -> FloatArray:
        """`rows` of one path, without a draft."""
        if path in self._rows:
            return self._used(path)
        (row,) = self.backend.score(path, NO_TREE, (ROOT,), stop)
        self._rows[path] = row
        if len(self._rows) > self._most:
            self._drop_surplus()
        return row

    def _drop_surplus(self) -> None:
        while len(self._rows) > self._most:
            del self._rows[next(iter(self._rows))]

    def _used(self, path: TokenPath) -> FloatArray:
        row = self._rows.pop(path)
        self._rows[path] = row
        return row

    def _keep(self, path: TokenPath, row: FloatArray) -> None:
        self._rows.pop(path, None)
        self._rows[path] = row

    def _with_draft(self, missing: list[TokenPath], roots: Sequence[Root]) -> list[TokenPath]:
        """`missing`, and drafted paths that fit into one evaluation with them."""
        assert self.drafter is not None
        if len(list(_parts(missing))) > 1:
            return missing
        room, taken = _Room(missing), set(missing)
        draft = self.drafter.draft(roots, lambda path: path in self._rows or path in taken, room.take)
        return sorted([*missing, *draft])

    def _score(self, paths: list[TokenPath], stop: StopSignal) -> dict[TokenPath, FloatArray]:
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
        return dict(zip(paths, rows, strict=True))


class _Room:
    """What one evaluation can still hold beside the paths that were taken."""

    def __init__(self, paths: Sequence[TokenPath]) -> None:
        """Sorted `paths` are taken already."""
        self._nodes = len(paths)
        self._leaves = {a for a, b in pairwise([*paths, ()]) if b[: len(a)] != a}

    def take(self, path: TokenPath) -> bool:
        """Takes one path more, whose beginning was taken or is cached; False if there is no room for it."""
        parent = path[:-1]
        is_new_leaf = parent not in self._leaves
        if self._nodes == LARGEST_TREE or (is_new_leaf and len(self._leaves) == MOST_LEAVES):
            return False
        self._nodes += 1
        self._leaves.discard(parent)
        self._leaves.add(path)
        return True


def _parts(paths: list[TokenPath]) -> Iterator[list[TokenPath]]:
    """Sorted `paths` in runs of at most LARGEST_TREE nodes and MOST_LEAVES leaves."""
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
