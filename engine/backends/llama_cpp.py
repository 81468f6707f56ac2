"""llama.cpp through llama-cpp-python's low-level batch API. Imported only when a model is opened.

On CPU flash attention stays off and keys and values are F32 by default: about twice as fast, and trees
score bit for bit like single steps (specification, section 10).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engine.backends.base import StopSignal
from engine.backends.openmp import spin_briefly
from engine.backends.sequences import BatchToken, Plan, SequenceTable
from engine.errors import BackendError, ModelCorrupt
from engine.tree import ROOT, TokenTree
from engine.vocab import FloatArray

SEQUENCES = 32
PREFILL_CHUNK = 256
"""Most tokens in one decode; a cancellation takes effect after at most this many."""

KV_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}
"""Name → ggml_type of keys and values."""

_KV_FULL = 1
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


class LlamaCppBackend:
    """One model file, one context with a unified KV cache. Implements `backends.base.Backend`."""

    def __init__(
        self, path: Path, *, context_length: int, kv: str = "f32", threads: int | None = None
    ) -> None:
        """Loads the model (seconds).

        `context_length` is the number of tokens all resident paths may hold together. Raises
        ModelCorrupt if llama.cpp rejects the file, BackendError if it cannot make the context.
        """
        if kv not in KV_TYPES:
            raise BackendError(f"unknown KV type {kv!r}; known are {', '.join(KV_TYPES)}")
        self._lib = import_llama_cpp()
        self._model = self._load(path)
        self._threads = threads or os.cpu_count() or 1
        trained = int(self._lib.llama_model_n_ctx_train(self._model))
        self.context_length = min(context_length, trained)
        self._context = self._make_context(kv)
        self._memory = self._lib.llama_get_memory(self._context)
        self.vocab_size = int(self._lib.llama_vocab_n_tokens(self._lib.llama_model_get_vocab(self._model)))
        self._batch = self._lib.llama_batch_init(PREFILL_CHUNK, 0, SEQUENCES)
        self._table = SequenceTable(SEQUENCES)
        self.evaluations = 0
        self.tokens_evaluated = 0

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
        params.flash_attn_type = 0 if kv != "q8_0" else 1
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

    def score(
        self, context: Sequence[int], tree: TokenTree, wanted: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        """See `Backend.score`."""
        depth = max((len(tree.branch(leaf)) for leaf in tree.leaves()), default=0)
        if len(context) + depth > self.context_length:
            raise BackendError(
                f"the prompt needs {len(context) + depth} tokens, the context holds {self.context_length}"
            )
        if not context and ROOT in wanted:
            raise ValueError("a distribution after no token at all is not defined")
        keys = [len(context) + node if node != ROOT else len(context) - 1 for node in wanted]
        flags = [False] * (len(context) + len(tree))
        for key in keys:
            flags[key] = True
        plan = self._table.plan(context, tree, flags)
        rows = self._evaluate(plan, len(context), set(keys), stop)
        return [rows[key] for key in keys]

    def _evaluate(
        self, plan: Plan, context_tokens: int, keys: set[int], stop: StopSignal
    ) -> dict[int, FloatArray]:
        """Carries out a plan chunk by chunk; rows by key (position in the context, or behind it by node)."""
        for copy in plan.copies:
            if copy.source != copy.target:
                self._lib.llama_memory_seq_rm(self._memory, copy.target, -1, -1)
                self._lib.llama_memory_seq_cp(self._memory, copy.source, copy.target, 0, copy.length)
            else:
                self._lib.llama_memory_seq_rm(self._memory, copy.target, copy.length, -1)
        rows: dict[int, FloatArray] = {}
        done = 0
        with self._committing(plan) as progress:
            while done < len(plan.batch):
                stop.check()
                chunk = plan.batch[done : done + PREFILL_CHUNK]
                chunk_keys = [t.position if t.node is None else context_tokens + t.node for t in chunk]
                outputs = [key in keys for key in chunk_keys]
                self._decode(chunk, outputs, plan)
                for index, key in enumerate(chunk_keys):
                    if outputs[index]:
                        rows[key] = self._log_probabilities(index)
                done += len(chunk)
                progress[0] = done
        return rows

    @contextmanager
    def _committing(self, plan: Plan) -> Iterator[list[int]]:
        """Whatever ends the evaluation, the table knows what became resident."""
        progress = [0]
        try:
            yield progress
        except BackendError:
            for number in self._table.forget(plan):
                self._lib.llama_memory_seq_rm(self._memory, number, -1, -1)
            raise
        except BaseException:
            self._table.commit(plan, progress[0])
            raise
        self._table.commit(plan, progress[0])

    def _decode(self, chunk: Sequence[BatchToken], outputs: Sequence[bool], plan: Plan) -> None:
        batch = self._batch
        batch.n_tokens = len(chunk)
        for index, (token, output) in enumerate(zip(chunk, outputs, strict=True)):
            batch.token[index] = token.token
            batch.pos[index] = token.position
            batch.n_seq_id[index] = len(token.sequences)
            for place, number in enumerate(token.sequences):
                batch.seq_id[index][place] = number
            batch.logits[index] = output
        while (status := self._lib.llama_decode(self._context, batch)) == _KV_FULL:
            evicted = self._table.evict_oldest(keep=plan)
            if evicted is None:
                raise BackendError(
                    f"the context of {self.context_length} tokens is full; choose a larger one"
                )
            self._lib.llama_memory_seq_rm(self._memory, evicted, -1, -1)
        if status != 0:
            raise BackendError(f"llama.cpp failed to evaluate a batch of {len(chunk)} tokens (code {status})")
        self.evaluations += 1
        self.tokens_evaluated += len(chunk)

    def _log_probabilities(self, index: int) -> FloatArray:
        pointer = self._lib.llama_get_logits_ith(self._context, index)
        logits = np.ctypeslib.as_array(pointer, shape=(self.vocab_size,)).astype(np.float64)
        logits -= logits.max()
        logits -= np.log(np.exp(logits).sum())
        return logits

    def close(self) -> None:
        """See `Backend.close`."""
        if self._context:
            self._lib.llama_batch_free(self._batch)
            self._lib.llama_free(self._context)
            self._lib.llama_model_free(self._model)
            self._context = None
