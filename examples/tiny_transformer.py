"""A transformer of one layer in numpy, trained by gradient descent; small enough to be read.

Embedding, causal attention with a learned bias for each distance, a ReLU layer, both with residuals, and a
linear read-out. No layer norms: one layer needs none. All arrays are float64; B texts of L tokens, width D,
H heads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Tokens = npt.NDArray[np.int64]


class TinyTransformer:
    """Predicts the next token after each token of a text of at most `length` tokens."""

    def __init__(self, vocab_size: int, length: int, seed: int, width: int = 32, heads: int = 4) -> None:
        random = np.random.default_rng(seed)

        def weights(*shape: int) -> Array:
            return random.normal(0, shape[-2] ** -0.5, shape) if len(shape) > 1 else np.zeros(shape)

        self.vocab_size, self.length, self.heads = vocab_size, length, heads
        self.parameters: dict[str, Array] = {
            "embedding": weights(vocab_size, width) * vocab_size**0.5,
            "query": weights(width, width),
            "key": weights(width, width),
            "value": weights(width, width),
            "distance": np.zeros((heads, length)),
            "output": weights(width, width),
            "inner": weights(width, 2 * width),
            "inner_bias": weights(2 * width),
            "outer": weights(2 * width, width),
            "read_out": weights(width, vocab_size),
            "read_out_bias": weights(vocab_size),
        }
        self._moments = {name: (np.zeros_like(p), np.zeros_like(p)) for name, p in self.parameters.items()}
        self._steps = 0

    def log_probabilities(self, tokens: Tokens) -> Array:
        """(B, L, vocab_size) natural logs of P(next token | tokens up to here) for (B, L) `tokens`."""
        return np.asarray(self._forward(tokens)["logs"])

    def train(self, tokens: Tokens, rate: float) -> float:
        """One step of Adam on (B, L + 1) `tokens`; returns the mean loss in nats a token."""
        seen, wanted = tokens[:, :-1], tokens[:, 1:]
        kept = self._forward(seen)
        loss = -np.take_along_axis(kept["logs"], wanted[..., None], 2).mean()
        self._descend(self._backward(seen, wanted, kept), rate)
        return float(loss)

    def _split(self, x: Array) -> Array:
        """(B, L, D) → (B, H, L, D / H)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)

    def _join(self, x: Array) -> Array:
        """(B, H, L, D / H) → (B, L, D)."""
        return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)

    def _forward(self, tokens: Tokens) -> dict[str, Any]:
        p, length = self.parameters, tokens.shape[1]
        x = p["embedding"][tokens]
        q, k, v = (self._split(x @ p[name]) for name in ("query", "key", "value"))
        distance = np.arange(length)[:, None] - np.arange(length)
        scores = q @ k.swapaxes(2, 3) / q.shape[-1] ** 0.5 + p["distance"][:, np.maximum(distance, 0)]
        attention = np.exp(_log_softmax(np.where(distance >= 0, scores, -np.inf)))
        mixed = self._join(attention @ v)
        middle = x + mixed @ p["output"]
        inner = np.maximum(middle @ p["inner"] + p["inner_bias"], 0)
        final = middle + inner @ p["outer"]
        logs = _log_softmax(final @ p["read_out"] + p["read_out_bias"])
        return {"x": x, "q": q, "k": k, "v": v, "distance": distance, "attention": attention, "mixed": mixed,
                "middle": middle, "inner": inner, "final": final, "logs": logs}  # fmt: skip

    def _backward(self, tokens: Tokens, wanted: Tokens, kept: dict[str, Any]) -> dict[str, Array]:
        """The loss's gradient by parameter. `d_y` is its gradient by y."""
        p, attention = self.parameters, kept["attention"]
        d_logits = np.exp(kept["logs"])
        np.put_along_axis(
            d_logits, wanted[..., None], np.take_along_axis(d_logits, wanted[..., None], 2) - 1, 2
        )
        d_logits /= wanted.size
        d_final = d_logits @ p["read_out"].T
        d_inner = (d_final @ p["outer"].T) * (kept["inner"] > 0)
        d_middle = d_final + d_inner @ p["inner"].T
        d_mixed = self._split(d_middle @ p["output"].T)
        d_attention = d_mixed @ kept["v"].swapaxes(2, 3)
        d_scores = attention * (d_attention - (d_attention * attention).sum(3, keepdims=True))
        scaled = d_scores / kept["q"].shape[-1] ** 0.5
        d_q, d_k = self._join(scaled @ kept["k"]), self._join(scaled.swapaxes(2, 3) @ kept["q"])
        d_v = self._join(attention.swapaxes(2, 3) @ d_mixed)
        d_x = d_middle + d_q @ p["query"].T + d_k @ p["key"].T + d_v @ p["value"].T
        d_embedding, d_distance = np.zeros_like(p["embedding"]), np.zeros_like(p["distance"])
        np.add.at(d_embedding, tokens, d_x)
        causal = kept["distance"] >= 0
        np.add.at(d_distance.T, kept["distance"][causal], d_scores.sum(0)[:, causal].T)
        return {
            "embedding": d_embedding,
            "query": _product(kept["x"], d_q),
            "key": _product(kept["x"], d_k),
            "value": _product(kept["x"], d_v),
            "distance": d_distance,
            "output": _product(kept["mixed"], d_middle),
            "inner": _product(kept["middle"], d_inner),
            "inner_bias": d_inner.sum((0, 1)),
            "outer": _product(kept["inner"], d_final),
            "read_out": _product(kept["final"], d_logits),
            "read_out_bias": d_logits.sum((0, 1)),
        }

    def _descend(self, gradient: dict[str, Array], rate: float) -> None:
        """Adam (Kingma and Ba 2015) with its usual constants."""
        self._steps += 1
        for name, g in gradient.items():
            first, second = self._moments[name]
            first += 0.1 * (g - first)
            second += 0.001 * (g * g - second)
            corrected = second / (1 - 0.999**self._steps)
            self.parameters[name] -= rate * first / (1 - 0.9**self._steps) / (np.sqrt(corrected) + 1e-8)


def _log_softmax(scores: Array) -> Array:
    shifted = scores - scores.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def _product(inputs: Array, d_outputs: Array) -> Array:
    """Gradient of W in `inputs @ W`."""
    return np.asarray(np.einsum("bli,blo->io", inputs, d_outputs))
