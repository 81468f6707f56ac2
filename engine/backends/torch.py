"""torch and transformers on CPU, CUDA or MPS. Imported only when a model is opened.

One call evaluates a whole token tree: each token attends to the cells of its own path in a static,
preallocated cache. So any architecture will do whose attention transformers lets us replace; whether that
came out right is checked when the model is opened, on a small tree against the architecture's own attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from engine.backends.base import StopSignal
from engine.backends.cells import CellArray, Cells
from engine.backends.kv_cache import KvCache
from engine.backends.parking import State
from engine.backends.planned import SEQUENCES, PlannedBackend
from engine.backends.sequences import BatchToken
from engine.backends.torch_attention import Step
from engine.backends.torch_graphs import CudaRecorder, Graphs, Recorder
from engine.backends.torch_kivi import KiviKv
from engine.backends.torch_kv import PAGE_CELLS, KvStore, StaticKv, Tensor
from engine.backends.torch_model import DTYPES, TorchModel, is_out_of_memory, out_of_memory
from engine.errors import BackendError, ModelUnsupported
from engine.tree import tree_of
from engine.vocab import FloatArray
from engine_kernels import torch_reference

KIVI_BITS = {"kivi4": 4, "kivi2": 2}
PREFILL_CHUNK = {"cpu": 256, "mps": 512, "cuda": 2048}
"""Device → most tokens in one call."""
CHECK_PATHS = ((1, 2, 3), (1, 2, 4), (1, 5), (6,))
"""Branches of the tree that a model is checked with; the numbers stand for tokens all over the vocabulary."""


class TorchBackend(PlannedBackend):
    """A model of transformers with a static cache. Implements `backends.base.Backend`."""

    def __init__(
        self, model: TorchModel, *, context_length: int, kv: str = "auto", parking_bytes: int = 0
    ) -> None:
        """Allocates the cache and checks the model (seconds).

        `kv` is "f32", "bf16", "f16", "kivi4" or "kivi2" (see `torch_kivi`), "auto" for the weights' type.
        Raises ModelUnsupported, or BackendError if memory runs out.
        """
        if kv not in (known := ("auto", *DTYPES, *KIVI_BITS)):
            raise BackendError(f"unknown KV type {kv!r}; known for torch are {', '.join(known)}")
        self._model, self._device = model, model.device
        self.vocab_size = model.vocab_size
        self.context_length = min(context_length, model.trained_length)
        self._store = self._allocate(kv)
        self._cells = Cells(self.context_length, SEQUENCES)
        operations = _Operations(self._cells, self._store)
        kv_cache = KvCache(
            operations, cells=self.context_length, sequences=SEQUENCES, parking_bytes=parking_bytes
        )
        super().__init__(kv_cache, PREFILL_CHUNK[self._device.type])
        self._log_softmax = log_softmax_on(self._device)
        self._logits = model.logits
        self._check()
        if self._device.type == "cuda" and isinstance(self._store, StaticKv):
            self._record(self._store, CudaRecorder())

    def _record(self, store: StaticKv, recorder: Recorder) -> None:
        """From now on small steps are recorded once and repeated."""
        graphs = Graphs(self._model.logits, store, self._device, recorder)
        with self._memory_advice(), torch.inference_mode():
            graphs.warm_up()
        self._logits = graphs.logits

    def _allocate(self, kv: str) -> KvStore:
        shapes, cells, dtype = self._model.shapes, self.context_length, DTYPES.get(kv, self._model.dtype)
        with self._memory_advice():
            if kv in KIVI_BITS:
                most = PREFILL_CHUNK[self._device.type]
                store: KvStore = KiviKv(shapes, cells, most, KIVI_BITS[kv], dtype, self._device)
            else:
                store = StaticKv(shapes, cells, dtype, self._device)
        self._model.attention.store = store
        return store

    @property
    def kv_bytes(self) -> int:
        """Memory of the keys and values of the whole context."""
        return self._store.nbytes

    # -- checking ---------------------------------------------------------------------------------

    def _check(self) -> None:
        """Scores a small tree, also as warm-up. Raises ModelUnsupported if the model says otherwise."""
        step = max(1, self.vocab_size // 8)
        context = [step * 7 % self.vocab_size, step * 3 % self.vocab_size]
        tree, ends = tree_of([tuple(step * k % self.vocab_size for k in path) for path in CHECK_PATHS])
        rows = self.score(context, tree, ends, StopSignal())
        for end, row in zip(ends, rows, strict=True):
            path = context + [tree.tokens[node] for node in tree.branch(end)]
            plain = self._rows(self._model.plain_logits(path)[None])[0]
            variation = float(np.abs(np.exp(plain) - np.exp(row)).sum() / 2)
            if not variation < (1e-3 if self._model.dtype == torch.float32 else 0.1):
                raise ModelUnsupported(
                    f"{self._model.name} cannot score token trees: a path in a tree differs from the path"
                    f" alone by a total variation of {variation:.1e}; use its GGUF file, if there is one"
                )
        while self._kv.give_up_oldest():
            pass
        self.evaluations = self.tokens_evaluated = 0

    # -- evaluating -------------------------------------------------------------------------------

    def evaluate_chunk(
        self, chunk: Sequence[BatchToken], asked: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        """See `PlannedBackend.evaluate_chunk`."""
        cells, rows, start = self._placed(chunk), list[FloatArray](), 0
        with self._memory_advice(), torch.inference_mode():
            while start < len(chunk):
                end = start + self._store.prepare(cells[start:])
                inside = [index - start for index in asked if start <= index < end]
                step = self._step(chunk[start:end], cells[start:end], inside)
                rows += self._rows(self._logits(step, stop))
                start = end
        return rows

    @contextmanager
    def _memory_advice(self) -> Iterator[None]:
        """Memory that runs out becomes a sentence, and less is evaluated at once from then on."""
        try:
            yield
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            return
        if hasattr(self, "_chunk"):
            self._chunk.limit()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        raise out_of_memory(self._device)

    def _rows(self, logits: Tensor) -> list[FloatArray]:
        return list(self._log_softmax(logits).cpu().numpy())

    def _placed(self, chunk: Sequence[BatchToken]) -> CellArray:
        while (cells := self._cells.place(chunk)) is None:
            if not self._kv.give_up_oldest():
                raise BackendError(
                    f"the context of {self.context_length} tokens is full; choose a larger one"
                )
        return cells

    def _step(self, chunk: Sequence[BatchToken], cells: CellArray, asked: Sequence[int]) -> Step:
        numbers, paths = np.unique([token.sequences[0] for token in chunk], return_inverse=True)
        used = -(-self._cells.in_use // PAGE_CELLS) * PAGE_CELLS
        return Step(
            tokens=self._tensor([token.token for token in chunk]),
            positions=self._tensor([token.position for token in chunk]),
            cells=self._tensor(cells),
            paths=self._tensor(paths),
            seen=self._tensor(self._cells.visible_to(numbers, used)),
            asked=self._tensor(list(asked)),
        )

    def _tensor(self, numbers: Any) -> Tensor:
        array = np.asarray(numbers)
        if array.dtype != np.int32:
            array = array.astype(np.int64)
        return torch.from_numpy(array).to(self._device)

    def close(self) -> None:
        """See `Backend.close`."""
        self._model.close()
        self._model.attention.store = None


class _Operations:
    """Cells and their contents. Implements `kv_cache.CacheOperations`."""

    def __init__(self, cells: Cells, store: KvStore) -> None:
        self._cells, self._store = cells, store

    def remove(self, number: int, start: int) -> None:
        self._cells.remove(number, start)

    def share(self, source: int, target: int, length: int) -> None:
        self._cells.share(source, target, length)

    def state_bytes(self, number: int) -> int:
        return len(self._cells.held(number)) * self._store.cell_bytes

    def save(self, number: int) -> State:
        return self._store.save(self._cells.held(number))

    def restore(self, number: int, state: State) -> bool:
        cells = self._cells.fill(number, state.nbytes // self._store.cell_bytes)
        if cells is None:
            return False
        self._store.restore(cells, state)
        return True


def best_device() -> Any:
    """CUDA, MPS or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def log_softmax_on(device: Any) -> Callable[[Tensor], Tensor]:
    """The fastest (k, vocab_size) logits → float64 natural logs that runs for tensors of this device."""
    if device.type == "cuda":
        try:
            from engine_kernels.triton_softmax import log_softmax
        except ImportError:
            return torch_reference.log_softmax
        return log_softmax
    if device.type == "mps":  # has no float64
        return lambda logits: torch_reference.log_softmax(logits.cpu())
    return torch_reference.log_softmax
