"""Attention of a tree's tokens to the cells of their own paths. Imported only when a model is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from engine.backends.base import StopSignal
from engine.backends.torch_kv import KvStore, LayerShape, Tensor
from engine.errors import Cancelled, ModelUnsupported


@dataclass(frozen=True, slots=True)
class Step:
    """One model call: `n` tokens of `sequences` paths. All tensors are on the model's device."""

    tokens: Tensor
    """(n,) int64 ids."""
    positions: Tensor
    """(n,) int64 positions in their paths."""
    cells: Tensor
    """(n,) int64 cells that the tokens' keys and values go to."""
    paths: Tensor
    """(n,) int64: for each token its row of `seen`."""
    seen: Tensor
    """(sequences, used) int32: the position of each cell in each path, see `cells`."""
    asked: Tensor
    """(k,) int64 indices of the tokens whose logits are wanted."""

    def visible(self, window: int | None) -> Tensor:
        """(n, used) bool: the cells each token attends to, with a `window` the last so many positions."""
        seen = self.seen[self.paths]
        here = self.positions[:, None]
        visible = seen <= here
        return visible if window is None else visible & (here - seen < window)


def tree_attention(
    query: Tensor, keys: Tensor, values: Tensor, visible: Tensor, scale: float, softcap: float | None = None
) -> Tensor:
    """(1, query_heads, n, value_dim): `query` (1, query_heads, n, dim), `keys`, `values` (heads, used, dim).

    Query heads that share a key head become further rows of one query (row g·n + i is head g of token i), so
    that keys and values are read once and never repeated. `softcap` c bounds scores to ±c by c·tanh(s / c).
    """
    _, query_heads, n, dim = query.shape
    heads = keys.shape[0]
    folded = query.reshape(1, heads, query_heads // heads * n, dim)
    mask = visible.repeat(query_heads // heads, 1)
    if softcap is None:
        out = scaled_dot_product_attention(
            folded, keys[None], values[None], attn_mask=mask[None, None], scale=scale
        )
    else:
        scores = torch.tanh(folded @ keys[None].transpose(2, 3) * (scale / softcap)) * softcap
        out = scores.masked_fill(~mask, float("-inf")).softmax(-1) @ values[None]
    return out.reshape(1, query_heads, n, values.shape[2])


class CachedAttention:
    """What a transformers model calls in each layer instead of its own attention.

    It writes the new keys and values to their cells and lets each token see its own path. Without a store
    it records the layers' shapes, and each token sees itself only.
    """

    def __init__(self, windows: Sequence[int | None]) -> None:
        """`windows` has the sliding window of each layer, None for full attention."""
        self._windows = windows
        self.shapes: dict[int, LayerShape] = {}
        self.store: KvStore | None = None
        self._visible: dict[int | None, Tensor] = {}
        self._used = 0
        self._step: Step | None = None
        self._stop = StopSignal()

    def begin(self, step: Step, stop: StopSignal) -> None:
        """What the calls until the next `begin` are about."""
        self._step, self._stop, self._used = step, stop, step.seen.shape[1]
        self._visible = {window: step.visible(window) for window in set(self._windows)}

    def __call__(
        self,
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor,
        scaling: float | None = None,
        softcap: float | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """One layer, as transformers' AttentionInterface calls it. Raises Cancelled if it was."""
        if self._stop.flag[0]:
            raise Cancelled("the request was cancelled")
        layer = self._layer(module)
        scale = query.shape[3] ** -0.5 if scaling is None else scaling
        if self.store is None or self._step is None:
            self.shapes[layer] = LayerShape(key.shape[1], key.shape[3], value.shape[3])
            repeats = query.shape[1] // value.shape[1]
            return value.repeat_interleave(repeats, dim=1).transpose(1, 2).contiguous(), None
        self.store.write(layer, self._step.cells, key[0], value[0])
        keys, values = self.store.read(layer, self._used)
        visible = self._visible[self._windows[layer]]
        out = tree_attention(query, keys.to(query.dtype), values.to(query.dtype), visible, scale, softcap)
        return out.transpose(1, 2).contiguous(), None

    def _layer(self, module: Any) -> int:
        layer = getattr(module, "layer_idx", None)
        if layer is None or not 0 <= layer < len(self._windows):
            raise ModelUnsupported("the layers of this architecture are not numbered, so it cannot be cached")
        return int(layer)


def layer_windows(config: Any) -> list[int | None]:
    """The sliding window of each layer of a transformers config, None for full attention.

    Raises ModelUnsupported if some layer is no attention over all earlier tokens or a window of them.
    """
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return [window] * int(config.num_hidden_layers)
    if other := set(kinds) - {"full_attention", "sliding_attention"}:
        raise ModelUnsupported(
            f"layers of the kind {', '.join(sorted(other))} cannot score token trees;"
            " choose a model with full or sliding attention"
        )
    return [window if kind == "sliding_attention" else None for kind in kinds]
