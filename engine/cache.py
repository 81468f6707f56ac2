"""The rows a model has already given: log-probabilities by token path, least recently used first to go."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from engine.backends.base import Backend, StopSignal
from engine.tree import TokenPath, common_prefix_length, tree_of
from engine.vocab import FloatArray

ROW_BUDGET_BYTES = 64 * 2**20
LARGEST_TREE = 48
"""Most nodes wanted of one evaluation; larger trees are scored in parts."""
MOST_LEAVES = 16
"""Most leaves of a tree: half of a backend's sequences, as each may need one to copy from."""


class Scorer:
    """Scores token paths on a backend; a path that was scored before costs nothing."""

    def __init__(self, backend: Backend, budget_bytes: int = ROW_BUDGET_BYTES) -> None:
        self.backend = backend
        self._rows: OrderedDict[TokenPath, FloatArray] = OrderedDict()
        self._most = max(LARGEST_TREE + 1, budget_bytes // (8 * backend.vocab_size))

    def __contains__(self, path: TokenPath) -> bool:
        """Whether the row after `path` costs nothing now."""
        return path in self._rows

    def rows(self, paths: Sequence[TokenPath], stop: StopSignal) -> list[FloatArray]:
        """(vocab_size,) natural log-probabilities of the token after each path.

        All paths that are not cached are scored as one tree in one evaluation. Raises as
        `Backend.score`; a path may not be empty.
        """
        missing = sorted({path for path in paths if path not in self._rows})
        fresh: dict[TokenPath, FloatArray] = {}
        for part in _parts(missing):
            fresh |= self._score(part, stop)
        result = [fresh[path] if path in fresh else self._rows[path] for path in paths]
        for path, row in zip(paths, result, strict=True):
            self._rows[path] = row
            self._rows.move_to_end(path)
        while len(self._rows) > self._most:
            self._rows.popitem(last=False)
        return result

    def _score(self, paths: list[TokenPath], stop: StopSignal) -> dict[TokenPath, FloatArray]:
        shared = common_prefix_length(paths)
        context = paths[0][:shared]
        tree, ends = tree_of([path[shared:] for path in paths])
        rows = self.backend.score(context, tree, ends, stop)
        return dict(zip(paths, rows, strict=True))


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
