"""A GGUF of the llama architecture with F32 weights as a folder of Hugging Face's, for benches on torch.

The rows of query and key heads change their order: a GGUF's rotary embedding turns neighbours, Hugging
Face's the two halves of a head. There is no tokenizer.json in the folder: benches use the GGUF's
tokenizer.
"""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from engine.models.gguf import check

_NAMES = {
    "token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip


def write_folder(gguf: Path, folder: Path) -> None:
    """Writes config.json and model.safetensors."""
    file = check(gguf)
    of = {key.removeprefix("llama."): value for key, value in file.metadata.items()}
    heads, width = int(of["attention.head_count"]), int(of["embedding_length"])
    names = {tensor.name for tensor in file.tensors}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width,
        "intermediate_size": int(of["feed_forward_length"]), "num_hidden_layers": int(of["block_count"]),
        "num_attention_heads": heads, "num_key_value_heads": int(of["attention.head_count_kv"]),
        "max_position_embeddings": int(of["context_length"]),
        "rope_theta": float(of.get("rope.freq_base", 10000.0)),
        "rms_norm_eps": float(of["attention.layer_norm_rms_epsilon"]), "hidden_act": "silu",
        "vocab_size": len(of["tokenizer.ggml.tokens"]), "tie_word_embeddings": "output.weight" not in names,
        "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    start = file.expected_bytes - max(t.offset_bytes + t.size_bytes for t in file.tensors)
    data = np.memmap(gguf, np.uint8, "r")
    header, offset = dict[str, Any](), 0
    kept = [tensor for tensor in file.tensors if _name(tensor.name)]
    for tensor in kept:
        size = 4 * prod(tensor.shape)
        header[_name(tensor.name)] = {
            "dtype": "F32", "shape": list(tensor.shape[::-1]), "data_offsets": [offset, offset + size]
        }  # fmt: skip
        offset += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for tensor in kept:
            assert tensor.type == "F32", f"{tensor.name} is {tensor.type}, not F32"
            at = start + tensor.offset_bytes
            weights = data[at : at + 4 * prod(tensor.shape)].view("<f4").reshape(tensor.shape[::-1])
            out.write(_rows(tensor.name, weights, width // heads).tobytes())


def _name(name: str) -> str:
    """Hugging Face's name of a tensor; "" for what it does not keep."""
    parts = name.removesuffix(".weight").split(".")
    if parts[-1] not in _NAMES:
        return ""
    return (
        f"model.layers.{parts[1]}.{_NAMES[parts[2]]}.weight"
        if parts[0] == "blk"
        else f"{_NAMES[parts[0]]}.weight"
    )


def _rows(name: str, weights: Any, head: int) -> Any:
    """Query and key heads with all first partners of a rotation before all second ones."""
    if not name.endswith(("attn_q.weight", "attn_k.weight")):
        return weights
    pairs = weights.reshape(-1, head // 2, 2, weights.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weights.shape)
