"""A Llama in torch whose parameters are a GGUF's tensors, name for name, so that export changes nothing.

GGUF's rotary embedding turns neighbouring pairs (x0, x1), (x2, x3)…, unlike Hugging Face's layout. Several
examples are packed into one row; a token attends to earlier tokens of its own example only.
Architecture: Touvron et al. 2023 (RMSNorm, rotary embedding, SwiGLU); grouped queries: Ainslie et al. 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.compiled import compiled
from training.cross_entropy import mean_cross_entropy


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model; from a GGUF's metadata."""

    vocab: int
    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    rope_base: float
    epsilon: float

    @property
    def head(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


class Norm(nn.Module):
    """RMSNorm in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """(…, width) → the same, in the type of `x`."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.epsilon).to(x.dtype)


class Block(nn.Module):
    """One layer; the attributes have the names of the GGUF's tensors."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv_width = shape.kv_heads * shape.head
        self.attn_norm = Norm(shape.width, shape.epsilon)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_v = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = Norm(shape.width, shape.epsilon)
        self.ffn_gate = nn.Linear(shape.width, shape.inner, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.inner, bias=False)
        self.ffn_down = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Any) -> Tensor:
        """(rows, length, width) → the same; `turn` as `rotate` takes it, `mask` of `same_document_mask`."""
        x = x + self._attention(self.attn_norm(x), turn, mask)
        gate, up = in_one_product(self.ffn_norm(x), self.ffn_gate, self.ffn_up)
        out: Tensor = x + self.ffn_down(F.silu(gate) * up)
        return out

    def _attention(self, h: Tensor, turn: tuple[Tensor, Tensor], mask: Any) -> Tensor:
        rows, length, _ = h.shape
        parts = in_one_product(h, self.attn_q, self.attn_k, self.attn_v)
        q, k, v = (part.view(rows, length, -1, self.shape.head).transpose(1, 2) for part in parts)
        q, k = rotate(q, *turn), rotate(k, *turn)
        if isinstance(mask, Tensor):
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        else:
            mixed = _flex_attention()(q, k, v, block_mask=mask, enable_gqa=True)
        out: Tensor = self.attn_output(mixed.transpose(1, 2).reshape(rows, length, -1))
        return out


class Llama(nn.Module):
    """Tokens (rows, length) → hidden states (rows, length, width); logits only where they are needed."""

    def __init__(self, shape: Shape, tied: bool = True) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.epsilon)
        self.output = None if tied else nn.Linear(shape.width, shape.vocab, bias=False)

    def forward(self, tokens: Tensor, documents: Tensor) -> Tensor:
        """`documents` (rows, length): the number of each token's example."""
        mask = same_document_mask(documents)
        turn = self._turn(positions_in(documents))
        x = self.token_embd(tokens).to(_working_type(tokens.device))
        for block in self.blk:
            x = block(x, turn, mask)
        out: Tensor = self.output_norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """(n, width) → (n, vocab)."""
        return F.linear(hidden, self._output_matrix)

    def loss(self, tokens: Tensor, documents: Tensor, weights: Tensor) -> Tensor:
        """Mean cross-entropy in nats of each next token of the same example, weighted by `weights`
        (rows, length), which belong to the token that is predicted."""
        hidden = self(tokens, documents)[:, :-1].reshape(-1, self.shape.width)
        same = documents[:, 1:] == documents[:, :-1]
        wanted, share = tokens[:, 1:].reshape(-1), (weights[:, 1:] * same).reshape(-1)
        if not hidden.is_cuda:  # there the shapes stay fixed, so that nothing waits for the device
            kept = share > 0
            hidden, wanted, share = hidden[kept], wanted[kept], share[kept]
        return mean_cross_entropy(hidden, self._output_matrix, wanted, share)

    @property
    def _output_matrix(self) -> Tensor:
        """(vocab, width)."""
        return self.token_embd.weight if self.output is None else self.output.weight

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the layers, one for all of them; the rest of a step is made of few large operations."""
        for block in self.blk:
            block.compile(*args, **options)

    def _turn(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, (rows, 1, length, head / 2)."""
        half = torch.arange(0, self.shape.head, 2, device=positions.device, dtype=torch.float32)
        angles = positions[:, None, :, None].float() * self.shape.rope_base ** (-half / self.shape.head)
        return angles.cos(), angles.sin()


def in_one_product(h: Tensor, *layers: nn.Linear) -> tuple[Tensor, ...]:
    """What each layer makes of `h`; layers that are plain matrices are multiplied with it as one."""
    if any(type(layer) is not nn.Linear for layer in layers):
        return tuple(layer(h) for layer in layers)
    together = F.linear(h, torch.cat([layer.weight for layer in layers]))
    return together.split([layer.out_features for layer in layers], -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the neighbouring pairs of the last axis by the given angles."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x.dtype)


def positions_in(documents: Tensor) -> Tensor:
    """Each token's position in its own example; examples are contiguous."""
    place = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    starts = torch.ones_like(documents, dtype=torch.bool)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return place - torch.where(starts, place, 0).cummax(1).values


def same_document_mask(documents: Tensor) -> Any:
    """Causal within an example: a FlexAttention block mask on CUDA, elsewhere a bool tensor."""
    rows, length = documents.shape
    if documents.is_cuda:
        from torch.nn.attention.flex_attention import create_block_mask

        def seen(row: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return (documents[row, q] == documents[row, k]) & (q >= k)

        make = compiled(create_block_mask)
        return make(seen, rows, None, length, length, device=documents.device)
    causal = torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
    return (documents[:, None, :, None] == documents[:, None, None, :]) & causal


def _flex_attention() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention if torch.compiler.is_compiling() else compiled(flex_attention)


def _working_type(device: torch.device) -> torch.dtype:
    """Of what flows through the layers: autocast's where it is on, else float32."""
    on = torch.is_autocast_enabled(device.type)
    return torch.get_autocast_dtype(device.type) if on else torch.float32


def from_gguf(path: Path) -> Llama:
    """The model of a GGUF of architecture llama, dequantised to float32. Raises ValueError for others."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    reader = GGUFReader(path)

    def value(key: str) -> Any:
        return reader.fields[key].contents()

    if value("general.architecture") != "llama":
        raise ValueError(f"{path} has the architecture {value('general.architecture')}, expected llama")
    tensors = {t.name: torch.from_numpy(dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors}
    vocab, width = tensors["token_embd.weight"].shape
    shape = Shape(
        vocab, width, int(value("llama.feed_forward_length")), int(value("llama.block_count")),
        int(value("llama.attention.head_count")), int(value("llama.attention.head_count_kv")),
        float(value("llama.rope.freq_base")) if "llama.rope.freq_base" in reader.fields else 10_000.0,
        float(value("llama.attention.layer_norm_rms_epsilon")),
    )  # fmt: skip
    model = Llama(shape, tied="output.weight" not in tensors)
    model.load_state_dict(tensors)
    return model
