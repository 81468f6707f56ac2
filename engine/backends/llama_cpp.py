"""llama.cpp through llama-cpp-python's low-level batch API. Imported only when a model is opened.

On CPU flash attention stays off and keys and values are F32 by default: about twice as fast, and trees
score bit for bit like single steps (specification, section 10).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.backends.base import StopSignal
from engine.backends.kv_cache import KvCache
from engine.backends.openmp import spin_briefly
from engine.backends.parking import State
from engine.backends.planned import SEQUENCES, PlannedBackend
from engine.backends.sequences import BatchToken
from engine.errors import BackendError, ModelCorrupt
from engine.kernels import log_softmax
from engine.vocab import FloatArray

PREFILL_CHUNK = 256
"""Most tokens in one decode."""

KV_TYPES = {"auto": 0, "f32": 0, "f16": 1, "q8_0": 8, "q4_0": 2}
"""Name → ggml_type of keys and values."""

_KV_FULL, _ABORTED = 1, 2
_QUIET: list[Any] = []


def import_llama_cpp() -> Any:
    """The `llama_cpp` module with its logging silenced. Raises BackendError with an install hint."""
    spin_briefly()
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendError(
            f"llama-cpp-python cannot be loaded ({error}); install it with: pip install llama-cpp-python"
        ) from None
    if not _QUIET:
        _QUIET.append(llama_cpp.llama_log_callback(lambda level, text, data: None))
        llama_cpp.llama_log_set(_QUIET[0], ctypes.c_void_p(0))
    return llama_cpp


def _libc() -> Any:
    return ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)


class LlamaCppBackend(PlannedBackend):
    """One model file, one context with a unified KV cache. Implements `backends.base.Backend`."""

    def __init__(
        self,
        path: Path,
        *,
        context_length: int,
        kv: str = "auto",
        threads: int | None = None,
        parking_bytes: int = 0,
    ) -> None:
        """Loads the model (seconds).

        `context_length` is the number of tokens in the cache, `parking_bytes` the memory for keys and
        values of documents beside it. Raises ModelCorrupt if llama.cpp rejects the file, BackendError
        if it cannot make the context.
        """
        if kv not in KV_TYPES:
            raise BackendError(f"unknown KV type {kv!r}; known are {', '.join(KV_TYPES)}")
        self._lib = import_llama_cpp()
        self._model = self._load(path)
        self._threads = threads or os.cpu_count() or 1
        trained = int(self._lib.llama_model_n_ctx_train(self._model))
        self.context_length = min(context_length, trained)
        self._context = self._make_context(kv)
        operations = _Operations(self._lib, self._context)
        kv_cache = KvCache(
            operations, cells=self.context_length, sequences=SEQUENCES, parking_bytes=parking_bytes
        )
        super().__init__(kv_cache, PREFILL_CHUNK)
        self.vocab_size = int(self._lib.llama_vocab_n_tokens(self._lib.llama_model_get_vocab(self._model)))
        self._batch = self._lib.llama_batch_init(PREFILL_CHUNK, 0, SEQUENCES)
        callback = self._lib.ggml_abort_callback
        self._strlen = ctypes.cast(_libc().strlen, callback)
        self._watched: StopSignal | None = None
        self._logits = ctypes.c_float * self.vocab_size

    def _load(self, path: Path) -> Any:
        self._lib.llama_backend_init()
        model = self._lib.llama_model_load_from_file(
            str(path).encode(), self._lib.llama_model_default_params()
        )
        if not model:
            raise ModelCorrupt(f"llama.cpp cannot load {path}; verify it with: midword models verify")
        return model

    def _make_context(self, kv: str) -> Any:
        params = self._lib.llama_context_default_params()
        params.n_ctx = self.context_length
        params.n_batch = params.n_ubatch = PREFILL_CHUNK
        params.n_outputs_max = SEQUENCES * 2
        params.n_seq_max = SEQUENCES
        params.kv_unified = True
        params.flash_attn_type = 1 if kv.startswith("q") else 0  # quantised values need it
        params.type_k = params.type_v = KV_TYPES[kv]
        params.n_threads = params.n_threads_batch = self._threads
        params.no_perf = True
        context = self._lib.llama_init_from_model(self._model, params)
        if not context:
            raise BackendError(
                f"llama.cpp cannot make a context of {self.context_length} tokens;"
                " choose a smaller context or free memory"
            )
        return context

    def evaluate_chunk(
        self, chunk: Sequence[BatchToken], asked: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        """See `PlannedBackend.evaluate_chunk`."""
        self._watch(stop)
        self._decode(chunk, set(asked), stop)
        return [self._log_probabilities(index) for index in asked]

    def _watch(self, stop: StopSignal) -> None:
        """llama.cpp looks at `stop` after each operation of a decode.

        It calls a C function that must return whether to abort. That function is `strlen`, which is
        0 as long as the signal's first byte is; a Python function would have to be entered, and wait for
        the interpreter, a thousand times in a decode.
        """
        if stop is self._watched:
            return
        self._watched, self._flag = stop, (ctypes.c_char * len(stop.flag)).from_buffer(stop.flag)
        self._lib.llama_set_abort_callback(self._context, self._strlen, ctypes.addressof(self._flag))

    def _decode(self, chunk: Sequence[BatchToken], asked: Container[int], stop: StopSignal) -> None:
        """One model call, with logits for the `asked` indices. Raises Cancelled if it was aborted."""
        batch = self._batch
        batch.n_tokens = len(chunk)
        for index, token in enumerate(chunk):
            batch.token[index] = token.token
            batch.pos[index] = token.position
            batch.n_seq_id[index] = len(token.sequences)
            for place, number in enumerate(token.sequences):
                batch.seq_id[index][place] = number
            batch.logits[index] = index in asked
        while (status := self._lib.llama_decode(self._context, batch)) == _KV_FULL:
            if not self._kv.give_up_oldest():
                raise BackendError(
                    f"the context of {self.context_length} tokens is full; choose a larger one"
                )
        if status == _ABORTED:
            stop.check()
        if status != 0:
            raise BackendError(f"llama.cpp failed to evaluate a batch of {len(chunk)} tokens (code {status})")

    def _log_probabilities(self, index: int) -> FloatArray:
        pointer = self._lib.llama_get_logits_ith(self._context, index)
        logits = self._logits.from_address(ctypes.addressof(pointer.contents))
        try:
            row: FloatArray = log_softmax(np.frombuffer(memoryview(logits), np.float32)[None])[0]
        except ValueError as error:
            raise BackendError(
                f"the model computed no distribution ({error}); pull it again or take another weight type"
            ) from None
        return row

    def close(self) -> None:
        """See `Backend.close`."""
        if self._context:
            self._lib.llama_batch_free(self._batch)
            self._lib.llama_free(self._context)
            self._lib.llama_model_free(self._model)
            self._context = None


class _Operations:
    """llama.cpp's cache. Implements `kv_cache.CacheOperations`."""

    def __init__(self, lib: Any, context: Any) -> None:
        self._lib, self._context = lib, context
        self._memory = lib.llama_get_memory(context)

    def remove(self, number: int, start: int) -> None:
        self._lib.llama_memory_seq_rm(self._memory, number, start, -1)

    def share(self, source: int, target: int, length: int) -> None:
        self._lib.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def state_bytes(self, number: int) -> int:
        return int(self._lib.llama_state_seq_get_size(self._context, number))

    def save(self, number: int) -> State:
        state = np.empty(self.state_bytes(number), np.uint8)
        self._lib.llama_state_seq_get_data(self._context, _pointer(state), state.nbytes, number)
        return state

    def restore(self, number: int, state: State) -> bool:
        read = self._lib.llama_state_seq_set_data(self._context, _pointer(state), state.nbytes, number)
        return int(read) == state.nbytes


def _pointer(state: State) -> Any:
    return state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
