"""What backends with a KV cache have in common: a plan carried out chunk by chunk.

`KvCache` says what is resident and what is left to evaluate. A backend evaluates one chunk; this class
takes care that whatever ends the evaluation, the table knows what became resident.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from engine.backends.base import StopSignal
from engine.backends.chunks import ChunkSize
from engine.backends.kv_cache import KvCache
from engine.backends.sequences import BatchToken, Plan
from engine.errors import BackendError, Cancelled
from engine.tree import ROOT, TokenTree
from engine.vocab import FloatArray

SEQUENCES = 32
_INSIDE = ROOT - 1


class PlannedBackend(ABC):
    """Implements `backends.base.Backend.score` over `evaluate_chunk`."""

    vocab_size: int
    context_length: int

    def __init__(self, kv: KvCache, largest_chunk: int) -> None:
        self._kv = kv
        self._chunk = ChunkSize(largest_chunk)
        self.evaluations = 0
        self.tokens_evaluated = 0

    @abstractmethod
    def evaluate_chunk(
        self, chunk: Sequence[BatchToken], asked: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        """One model call: (vocab_size,) natural log-probabilities after each of the `asked` indices.

        Raises Cancelled when `stop` ended it early, BackendError when nothing of the plan is worth keeping.
        """

    def score(
        self, context: Sequence[int], tree: TokenTree, wanted: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        """See `Backend.score`."""
        if len(context) + tree.depth > self.context_length:
            raise BackendError(
                f"the prompt needs {len(context) + tree.depth} tokens,"
                f" the context holds {self.context_length}"
            )
        if not context and ROOT in wanted:
            raise ValueError("a distribution after no token at all is not defined")
        plan = self._kv.prepare(context, tree, wanted)
        rows = self._evaluate(plan, len(context), set(wanted), stop)
        return [rows[node] for node in wanted]

    def _evaluate(
        self, plan: Plan, context_tokens: int, wanted: set[int], stop: StopSignal
    ) -> dict[int, FloatArray]:
        """Carries out a plan chunk by chunk; rows by wanted node.

        Whatever ends the evaluation, the table knows what became resident.
        """
        rows: dict[int, FloatArray] = {}
        done = 0
        try:
            while done < len(plan.batch):
                stop.check()
                chunk = plan.batch[done : done + self._chunk.tokens]
                nodes = [_node(token, context_tokens) for token in chunk]
                asked = [index for index, node in enumerate(nodes) if node in wanted]
                found = self._counted(chunk, asked, stop)
                rows |= {nodes[index]: row for index, row in zip(asked, found, strict=True)}
                done += len(chunk)
        except BackendError:
            self._kv.forget(plan)
            raise
        except BaseException:
            self._kv.settle(plan, done)
            raise
        self._kv.settle(plan, done)
        return rows

    def _counted(
        self, chunk: Sequence[BatchToken], asked: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        try:
            rows = self.evaluate_chunk(chunk, asked, stop)
        except Cancelled:
            self._chunk.aborted()
            raise
        self._chunk.evaluated(len(chunk))
        self.evaluations += 1
        self.tokens_evaluated += len(chunk)
        return rows


def _node(token: BatchToken, context_tokens: int) -> int:
    """The node of the tree at this position: ROOT at the context's end, _INSIDE further before."""
    if token.node is not None:
        return token.node
    return ROOT if token.position == context_tokens - 1 else _INSIDE
