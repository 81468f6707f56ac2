"""A real llama with random weights, small enough to be loaded in milliseconds: 2 layers of width 64.

The same weights as a GGUF file and as a folder of Hugging Face's. A GGUF has the rows of query and key heads
in another order: its rotary embedding turns neighbours, Hugging Face's turns the two halves of a head.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.vocab import TokenKind
from tests.engine.gguf_files import gguf_bytes
from tests.engine.models_of_tables import SENTINELS, vocabulary

CONTEXT = 512
_WIDTH, _INNER, _LAYERS, _HEADS, _KV_HEADS = 64, 128, 2, 4, 2
_U32, _F32, _STRING, _ARRAY, _I32, _BOOL = 4, 6, 8, 9, 5, 7
_Q8_0 = 8


def write_tiny_llama(
    path: Path, seed: int = 0, *, eight_bits: bool = False, architecture: str = "llama"
) -> None:
    """Writes the GGUF: starcoder-like vocabulary with four sentinels, F32 weights.

    With `eight_bits` the matrices are Q8_0, and the heads half as many and twice as wide: whole blocks. A
    "qwen2" has the same weights, and biases, and does not say that whole heads are rotated, as real ones.
    """
    heads, kv_heads = (_HEADS // 2, _KV_HEADS // 2) if eight_bits else (_HEADS, _KV_HEADS)
    trained = vocabulary()
    tokens = trained.gguf_tokens
    kinds = [TokenKind.NORMAL] * (len(tokens) - len(SENTINELS)) + [TokenKind.CONTROL] * len(SENTINELS)
    first = len(tokens) - len(SENTINELS)
    pairs: dict[str, tuple[int, Any]] = {
        "general.architecture": (_STRING, architecture),
        f"{architecture}.context_length": (_U32, CONTEXT),
        f"{architecture}.embedding_length": (_U32, _WIDTH),
        f"{architecture}.block_count": (_U32, _LAYERS),
        f"{architecture}.feed_forward_length": (_U32, _INNER),
        f"{architecture}.attention.head_count": (_U32, heads),
        f"{architecture}.attention.head_count_kv": (_U32, kv_heads),
        f"{architecture}.attention.layer_norm_rms_epsilon": (_F32, 1e-5),
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
    if architecture == "llama":
        pairs["llama.rope.dimension_count"] = (_U32, _WIDTH // heads)
    tensors = dict[str, tuple[int, tuple[int, ...], bytes]]()
    for name, weights in tiny_weights(seed).items():
        is_small = eight_bits and weights.ndim == 2
        raw = q8_0(weights) if is_small else weights.tobytes()
        tensors[f"{name}.weight"] = (_Q8_0 if is_small else 0, weights.shape[::-1], raw)
        if architecture == "qwen2" and name.endswith(("attn_q", "attn_k", "attn_v")):
            bias = np.random.default_rng(len(tensors)).normal(size=len(weights)).astype("<f4")
            tensors[f"{name}.bias"] = (0, bias.shape, bias.tobytes())
    path.write_bytes(gguf_bytes(pairs, tensors))


def q8_0(weights: Any) -> bytes:
    """Q8_0 as GGUF has it: for 32 weights a float16 scale, then their multiples of it."""
    blocks = weights.reshape(-1, 32)
    scales = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype("<f2")
    numbers = np.rint(blocks / np.maximum(scales.astype("<f4"), 1e-12)).astype(np.int8)
    return np.concatenate([scales.view(np.uint8), numbers.view(np.uint8)], axis=1).tobytes()


def tiny_weights(seed: int = 0) -> dict[str, Any]:
    """GGUF's name → F32 weights, (outputs, inputs) or (width,)."""
    rng, found = np.random.default_rng(seed), dict[str, Any]()

    def add(name: str, inputs: int, outputs: int | None = None) -> None:
        """A matrix of normal weights, or a norm's vector near one."""
        if outputs is None:
            found[name] = (1 + 0.1 * rng.normal(size=inputs)).astype("<f4")
        else:
            found[name] = (rng.normal(size=(outputs, inputs)) * 1.5 / inputs**0.5).astype("<f4")

    tokens = len(vocabulary().gguf_tokens)
    add("token_embd", _WIDTH, tokens)
    add("output", _WIDTH, tokens)
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
    return found


_HF_NAMES = {
    "token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip


def write_tiny_folder(folder: Path, seed: int = 0, **settings: Any) -> None:
    """The same model as a folder; `settings` change its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": _WIDTH,
        "intermediate_size": _INNER, "num_hidden_layers": _LAYERS, "num_attention_heads": _HEADS,
        "num_key_value_heads": _KV_HEADS, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "vocab_size": len(vocabulary().gguf_tokens), "hidden_act": "silu",
        "tie_word_embeddings": False, "bos_token_id": None,
        "eos_token_id": len(vocabulary().gguf_tokens) - 1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | settings))
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer_json()))
    tensors = {_hf_name(name): _hf_rows(name, weights) for name, weights in tiny_weights(seed).items()}
    (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors))


def _hf_name(name: str) -> str:
    if name.startswith("blk."):
        _, layer, part = name.split(".")
        return f"model.layers.{layer}.{_HF_NAMES[part]}.weight"
    return f"{_HF_NAMES[name]}.weight"


def _hf_rows(name: str, weights: Any) -> Any:
    """Query and key heads with all first partners of a rotation before all second ones."""
    if not name.endswith(("attn_q", "attn_k")):
        return weights
    pairs = weights.reshape(-1, _WIDTH // _HEADS // 2, 2, weights.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weights.shape)


def safetensors_bytes(tensors: Mapping[str, Any]) -> bytes:
    """F32 arrays as the format says: the header's length, the header, the weights one after the other."""
    header, body = dict[str, Any](), b""
    for name, weights in tensors.items():
        offsets = [len(body), len(body) + weights.nbytes]
        header[name] = {"dtype": "F32", "shape": list(weights.shape), "data_offsets": offsets}
        body += weights.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def _tokenizer_json() -> dict[str, Any]:
    trained = vocabulary()
    special = {"special": True, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    ids = {text: token for token, text in enumerate(trained.gguf_tokens)}
    return {
        "version": "1.0",
        "added_tokens": [{"id": ids[text], "content": text, **special} for text in SENTINELS],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel"},
        "model": {
            "type": "BPE",
            "vocab": {text: token for text, token in ids.items() if text not in SENTINELS},
            "merges": trained.gguf_merges,
        },
    }
