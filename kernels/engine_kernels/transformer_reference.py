"""The definition of `_transformer`: a Llama's or Qwen2's forward pass over one path of tokens, in float64.

RMS norm, rotated queries and keys, attention in groups of heads, SiLU gates; weights are those of GGUF's
Q8_0. Sources: https://arxiv.org/abs/2302.13971, section 2.2, with grouped heads;
https://arxiv.org/abs/2407.10671, section 2.2.1: queries, keys and values with biases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BLOCK = 32


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the weights do not say themselves."""

    layers: int
    heads: int
    kv_heads: int
    epsilon: float
    rope_base: float
    rotates_halves: bool = False
    """A number of a head's first half and one of the second form a pair, instead of neighbours."""


def dequantize(blocks: npt.NDArray[np.uint8], columns: int) -> Floats:
    """(rows, columns) of the bytes of Q8_0: a float16 scale, then BLOCK signed bytes."""
    parts = np.ascontiguousarray(blocks).reshape(-1, 2 + BLOCK)
    scales = parts[:, :2].copy().view(np.float16).astype(np.float64)
    return (scales * parts[:, 2:].copy().view(np.int8)).reshape(-1, columns)


def logits(sizes: Sizes, weights: Mapping[str, Floats], tokens: Sequence[int]) -> Floats:
    """(tokens, vocab): what follows each token of the path. `weights` by their names in GGUF, matrices as
    (outputs, inputs)."""
    x = _hidden(sizes, weights, tokens, sizes.layers)
    return _norm(x, weights["output_norm"], sizes.epsilon) @ weights.get("output", weights["token_embd"]).T


def alike(sizes: Sizes, weights: Mapping[str, Floats], path: Sequence[int]) -> list[tuple[int, float]]:
    """The earlier places of the last token, from 1 on, and the cosine of the values of the tokens before it
    there and at the end, in the layer at two thirds of the depth."""
    layer = sizes.layers * 2 // 3
    h = _norm(_hidden(sizes, weights, path, layer), weights[f"blk.{layer}.attn_norm"], sizes.epsilon)
    values = h @ weights[f"blk.{layer}.attn_v"].T + weights.get(f"blk.{layer}.attn_v.bias", 0.0)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    places = [at for at in range(1, len(path) - 1) if path[at] == path[-1]]
    return [(at, float(values[at - 1] @ values[-2])) for at in places]


def _hidden(sizes: Sizes, weights: Mapping[str, Floats], tokens: Sequence[int], layers: int) -> Floats:
    """(tokens, width): what flows out of so many layers."""
    x = weights["token_embd"][list(tokens)]
    for layer in range(layers):
        own = {name: weights[f"blk.{layer}.{name}"] for name in _LAYER}
        own |= {name: weights[f"blk.{layer}.{name}"] for name in _BIASES if f"blk.{layer}.{name}" in weights}
        h = _norm(x, own["attn_norm"], sizes.epsilon)
        x = x + _attention(sizes, own, h) @ own["attn_output"].T
        h = _norm(x, own["ffn_norm"], sizes.epsilon)
        gate = h @ own["ffn_gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ own["ffn_up"].T)) @ own["ffn_down"].T
    return x


_LAYER = (
    "attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down",
)  # fmt: skip
_BIASES = ("attn_q.bias", "attn_k.bias", "attn_v.bias")


def _norm(x: Floats, weights: Floats, epsilon: float) -> Floats:
    normed: Floats = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon) * weights
    return normed


def _attention(sizes: Sizes, own: Mapping[str, Floats], h: Floats) -> Floats:
    count = len(h)

    def by_head(name: str, heads: int) -> Floats:
        projected = h @ own[name].T + own.get(f"{name}.bias", 0.0)
        return projected.reshape(count, heads, -1).transpose(1, 0, 2)

    queries = _rotated(by_head("attn_q", sizes.heads), sizes)
    keys = _rotated(by_head("attn_k", sizes.kv_heads), sizes)
    values = by_head("attn_v", sizes.kv_heads)
    group = sizes.heads // sizes.kv_heads
    scores = queries @ keys.repeat(group, axis=0).transpose(0, 2, 1) / np.sqrt(queries.shape[-1])
    scores = np.where(np.tri(count, dtype=bool), scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    seen = shares / shares.sum(axis=-1, keepdims=True) @ values.repeat(group, axis=0)
    joined: Floats = seen.transpose(1, 0, 2).reshape(count, -1)
    return joined


def _rotated(x: Floats, sizes: Sizes) -> Floats:
    """(heads, positions, dimension): each pair of numbers turned by its position's angle."""
    dimension = x.shape[-1]
    angles = np.arange(x.shape[1])[:, None] * sizes.rope_base ** (-np.arange(0, dimension, 2) / dimension)
    axis = -2 if sizes.rotates_halves else -1
    pairs = x.reshape(*x.shape[:-1], *((2, -1) if sizes.rotates_halves else (-1, 2)))
    a, b = np.moveaxis(pairs, axis, 0)
    turned = [a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)]
    found: Floats = np.stack(turned, axis=axis).reshape(x.shape)
    return found
