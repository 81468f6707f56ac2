"""How good and how fast a GGUF is on this machine, measured with llama.cpp's low-level calls."""

from __future__ import annotations

import os
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import BackendError
from engine.models.quantize import llama_cpp, quiet

WINDOW_BYTES = 1500
"""A window's first third is context only, the rest is scored."""
_CONTEXT_TOKENS = 1024


class Probe:
    """An open model with one sequence, for measuring. Made by `probe`."""

    def __init__(self, low_level: Any, model: Any, context: Any) -> None:
        self.api, self.context = low_level, context
        self.vocab = low_level.llama_model_get_vocab(model)
        self.vocab_size = int(low_level.llama_vocab_n_tokens(self.vocab))
        self.batch = low_level.llama_batch_init(_CONTEXT_TOKENS, 0, 1)

    def tokens(self, text: bytes) -> list[int]:
        """At most one context of token ids, with the model's start token if it has one."""
        found = (self.api.llama_token * (len(text) + 8))()
        count = self.api.llama_tokenize(self.vocab, text, len(text), found, len(found), True, False)
        return list(found[: max(count, 0)])[:_CONTEXT_TOKENS]

    def token_bytes(self, token: int) -> int:
        """Length of a token's text in bytes; 0 for a special token."""
        room = self.api.llama_token_to_piece(self.vocab, token, None, 0, 0, False)
        return abs(int(room))

    def decode(self, tokens: Sequence[int], start: int, scored_from: int) -> float:
        """Evaluate `tokens` at positions from `start`, with logits from index `scored_from` on.

        Returns milliseconds. Raises BackendError.
        """
        for i, token in enumerate(tokens):
            self.batch.token[i], self.batch.pos[i] = token, start + i
            self.batch.n_seq_id[i], self.batch.seq_id[i][0] = 1, 0
            self.batch.logits[i] = i >= scored_from
        self.batch.n_tokens = len(tokens)
        began = time.perf_counter()
        failed = self.api.llama_decode(self.context, self.batch)
        if failed:
            raise BackendError(f"llama.cpp could not evaluate {len(tokens)} tokens (code {failed})")
        self.api.llama_synchronize(self.context)
        return (time.perf_counter() - began) * 1e3

    def clear(self) -> None:
        """Forget the sequence."""
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def surprise_bits(self, row: int, token: int) -> float:
        """-log2 P(token) by the logits of batch index `row`."""
        logits = np.ctypeslib.as_array(self.api.llama_get_logits_ith(self.context, row), (self.vocab_size,))
        shifted = logits.astype(np.float64) - logits.max()
        return float((np.log(np.exp(shifted).sum()) - shifted[token]) / np.log(2))


@contextmanager
def probe(path: Path) -> Iterator[Probe]:
    """Open `path`; llama.cpp's log is silent meanwhile. Raises BackendError."""
    api = llama_cpp()
    api.llama_backend_init()
    with quiet(api):
        model = api.llama_model_load_from_file(os.fsencode(path), api.llama_model_default_params())
        if not model:
            raise BackendError(f"llama.cpp cannot load {path}; check it with `midword models verify`")
        params = api.llama_context_default_params()
        params.n_ctx = params.n_batch = _CONTEXT_TOKENS
        params.n_threads = params.n_threads_batch = os.cpu_count() or 1
        context = api.llama_init_from_model(model, params)
        if not context:
            api.llama_model_free(model)
            raise BackendError(f"llama.cpp has no memory for a context of {_CONTEXT_TOKENS} tokens of {path}")
        opened = Probe(api, model, context)
        try:
            yield opened
        finally:
            api.llama_batch_free(opened.batch)
            api.llama_free(context)
            api.llama_model_free(model)


def code_windows(count: int) -> list[bytes]:
    """`count` windows of Python from this interpreter's standard library, or from midword where it has none.

    The same for all weight types, so types compare; not comparable between interpreters.
    """
    folders = (Path(sysconfig.get_path("stdlib")), Path(__file__).parents[1])
    for folder in folders:
        texts = [path.read_bytes() for path in sorted(folder.glob("*.py"))]
        long = [text for text in texts if len(text) > 4 * WINDOW_BYTES]
        if len(long) >= count:
            break
    return [_middle(text) for text in long[:: max(1, len(long) // count)][:count]]


def _middle(text: bytes) -> bytes:
    start = text.find(b"\n", len(text) // 2) + 1
    return text[start : start + WINDOW_BYTES].decode("utf-8", "ignore").encode()


def bits_per_byte(model: Probe, windows: Sequence[bytes]) -> float:
    """Mean information of the scored two thirds of `windows`, in bits per byte of text; lower is better."""
    bits, scored_bytes = 0.0, 0
    for window in windows:
        tokens = model.tokens(window)
        lengths = [model.token_bytes(token) for token in tokens]
        first = int(np.searchsorted(np.cumsum(lengths), WINDOW_BYTES // 3)) + 1
        model.clear()
        model.decode(tokens, 0, scored_from=first - 1)
        bits += sum(model.surprise_bits(i - 1, tokens[i]) for i in range(first, len(tokens)))
        scored_bytes += sum(lengths[first:])
    return bits / scored_bytes


def prefill_tokens_per_s(model: Probe, tokens: Sequence[int], repeats: int = 3) -> float:
    """Best of `repeats` evaluations of `tokens` with logits for the last one only."""

    def once() -> float:
        model.clear()
        return model.decode(tokens, 0, scored_from=len(tokens) - 1)

    return len(tokens) / min(once() for _ in range(repeats)) * 1e3


def decode_ms(model: Probe, tokens: Sequence[int], width: int, repeats: int) -> float:
    """Shortest time of evaluating `width` tokens, all with logits, after the context `tokens`."""
    model.clear()
    model.decode(tokens, 0, scored_from=len(tokens) - 1)

    def step(number: int) -> float:
        return model.decode(tokens[:width], len(tokens) + number * width, scored_from=0)

    return min(step(number) for number in range(repeats))
