"""A real llama with random weights, small enough to be loaded in milliseconds: 2 layers of width 64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.vocab import TokenKind
from tests.engine.gguf_files import gguf_bytes
from tests.engine.models_of_tables import SENTINELS, vocabulary

CONTEXT = 512
_WIDTH, _INNER, _LAYERS, _HEADS, _KV_HEADS = 64, 128, 2, 4, 2
_U32, _F32, _STRING, _ARRAY, _I32, _BOOL = 4, 6, 8, 9, 5, 7


def write_tiny_llama(path: Path, seed: int = 0) -> None:
    """Writes the GGUF: starcoder-like vocabulary with four sentinels, F32 weights."""
    trained, rng = vocabulary(), np.random.default_rng(seed)
    tokens = trained.gguf_tokens
    kinds = [TokenKind.NORMAL] * (len(tokens) - len(SENTINELS)) + [TokenKind.CONTROL] * len(SENTINELS)
    first = len(tokens) - len(SENTINELS)
    pairs: dict[str, tuple[int, Any]] = {
        "general.architecture": (_STRING, "llama"),
        "llama.context_length": (_U32, CONTEXT),
        "llama.embedding_length": (_U32, _WIDTH),
        "llama.block_count": (_U32, _LAYERS),
        "llama.feed_forward_length": (_U32, _INNER),
        "llama.rope.dimension_count": (_U32, _WIDTH // _HEADS),
        "llama.attention.head_count": (_U32, _HEADS),
        "llama.attention.head_count_kv": (_U32, _KV_HEADS),
        "llama.attention.layer_norm_rms_epsilon": (_F32, 1e-5),
        "tokenizer.ggml.model": (_STRING, "gpt2"),
        "tokenizer.ggml.pre": (_STRING, "starcoder"),
        "tokenizer.ggml.tokens": (_ARRAY, (_STRING, tokens)),
        "tokenizer.ggml.token_type": (_ARRAY, (_I32, [int(kind) for kind in kinds])),
        "tokenizer.ggml.merges": (_ARRAY, (_STRING, trained.gguf_merges)),
        "tokenizer.ggml.add_bos_token": (_BOOL, False),
        "tokenizer.ggml.eos_token_id": (_U32, first + 3),
        **{
            f"tokenizer.ggml.fim_{part}_token_id": (_U32, first + k)
            for k, part in enumerate(("pre", "suf", "mid"))
        },
    }
    tensors: dict[str, tuple[int, tuple[int, ...], bytes]] = {}

    def add(name: str, inputs: int, outputs: int | None = None) -> None:
        """A matrix of normal weights, or a norm's vector near one. GGUF names the fastest axis first."""
        if outputs is None:
            weights, shape = 1 + 0.1 * rng.normal(size=inputs), (inputs,)
        else:
            weights, shape = rng.normal(size=(outputs, inputs)) * 1.5 / inputs**0.5, (inputs, outputs)
        tensors[f"{name}.weight"] = (0, shape, weights.astype("<f4").tobytes())

    add("token_embd", _WIDTH, len(tokens))
    add("output", _WIDTH, len(tokens))
    add("output_norm", _WIDTH)
    for layer in range(_LAYERS):
        block, kv_width = f"blk.{layer}", _WIDTH * _KV_HEADS // _HEADS
        add(f"{block}.attn_norm", _WIDTH)
        add(f"{block}.ffn_norm", _WIDTH)
        add(f"{block}.attn_q", _WIDTH, _WIDTH)
        add(f"{block}.attn_k", _WIDTH, kv_width)
        add(f"{block}.attn_v", _WIDTH, kv_width)
        add(f"{block}.attn_output", _WIDTH, _WIDTH)
        add(f"{block}.ffn_gate", _WIDTH, _INNER)
        add(f"{block}.ffn_up", _WIDTH, _INNER)
        add(f"{block}.ffn_down", _INNER, _WIDTH)
    path.write_bytes(gguf_bytes(pairs, tensors))
