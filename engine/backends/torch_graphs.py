"""Small steps as CUDA graphs. A decode of a small model is hundreds of kernels of microseconds each, and
starting them one by one from Python takes longer than they do.

A graph is recorded for each padded shape: tokens up to a power of two, cells up to a power of two. Padding
tokens write to a cell that no path holds and see cell 0 only, so they cost little and change nothing.
Imported only when a model is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from engine.backends.base import StopSignal
from engine.backends.cells import UNSEEN
from engine.backends.torch_attention import Step
from engine.backends.torch_kv import StaticKv, Tensor

MOST_TOKENS = 32
"""Larger steps keep the device busy without a graph."""
SMALLEST_CELLS = 256
WARM_CELLS = 2048
"""Shapes up to here are recorded when the model is opened, others when they first come."""

Logits = Callable[[Step, StopSignal], Tensor]
"""A step's logits, see `TorchModel.logits`."""


class Recorder(Protocol):
    """Records what a function does on the device."""

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Returns what repeats `work`, and the tensor that its result is always written to."""
        ...


class CudaRecorder:
    """CUDA graphs that share one pool of memory."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """See `Recorder`. Kernels are tuned and libraries set up in two runs before."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                work()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            result = work()
        return graph.replay, result


@dataclass(frozen=True, slots=True)
class _Recorded:
    step: Step
    replay: Callable[[], None]
    logits: Tensor


class Graphs:
    """`logits` with recorded shapes; what is too large goes to `eager`."""

    def __init__(self, eager: Logits, store: StaticKv, device: Any, recorder: Recorder) -> None:
        self._eager, self._device, self._recorder = eager, device, recorder
        self._cells, self._spare = store.cells, store.cells - 1
        self._recorded: dict[tuple[int, int], _Recorded] = {}

    def warm_up(self) -> None:
        """Records the usual shapes (seconds)."""
        cells = SMALLEST_CELLS
        while cells <= min(WARM_CELLS, self._cells):
            for power in range(MOST_TOKENS.bit_length()):
                self._at(2**power, cells)
            cells *= 2

    def logits(self, step: Step, stop: StopSignal) -> Tensor:
        """See `TorchModel.logits`. A recorded step is not interrupted; it takes milliseconds."""
        tokens, used = len(step.tokens), step.seen.shape[1]
        if tokens > MOST_TOKENS:
            return self._eager(step, stop)
        stop.check()
        recorded = self._at(_power(tokens), min(self._cells, max(SMALLEST_CELLS, _power(used))))
        self._fill(recorded.step, step, tokens, used)
        recorded.replay()
        return recorded.logits[step.asked]

    def _at(self, tokens: int, cells: int) -> _Recorded:
        if (tokens, cells) not in self._recorded:
            step = self._padded(tokens, cells)
            replay, logits = self._recorder.record(lambda: self._eager(step, StopSignal()))
            self._recorded[tokens, cells] = _Recorded(step, replay, logits)
        return self._recorded[tokens, cells]

    def _padded(self, tokens: int, cells: int) -> Step:
        """A step of padding only."""

        def filled(value: int) -> Tensor:
            return torch.full((tokens,), value, dtype=torch.int64, device=self._device)

        seen = torch.full((tokens, cells), int(UNSEEN), dtype=torch.int32, device=self._device)
        seen[:, 0] = 0
        each = torch.arange(tokens, device=self._device)
        return Step(filled(0), filled(0), filled(self._spare), each, seen, each)

    def _fill(self, into: Step, step: Step, tokens: int, used: int) -> None:
        """Overwrites a padded step, each token with a row of its own in `seen`."""
        into.tokens[:tokens], into.tokens[tokens:] = step.tokens, 0
        into.positions[:tokens], into.positions[tokens:] = step.positions, 0
        into.cells[:tokens], into.cells[tokens:] = step.cells, self._spare
        into.seen.fill_(int(UNSEEN))
        into.seen[:tokens, :used] = step.seen[step.paths]
        into.seen[tokens:, 0] = 0


def _power(number: int) -> int:
    """The least power of two that is not below `number`."""
    return 1 << (number - 1).bit_length()
