"""The second law, `all`: every segmentation of the text counts, canonical or not.

Exponentially many, so they are visited likeliest first and the mass of those not visited is reported. For
toy models and for comparison; completions use the law `canonical` (`covers`).
"""

from __future__ import annotations

import heapq

import numpy as np

from engine.covers import STOP, CoverSpace
from engine.tree import TokenPath
from engine.types import ByteDistribution, Cover

BATCH = 16
"""Contexts scored in one evaluation."""
BOUND = 1e-4
"""Visiting ends when what is left holds at most this share."""


def all_segmentations(space: CoverSpace, fixed: TokenPath, tail: bytes, most: int) -> ByteDistribution:
    """P(next byte) summed over all token sequences that cover `tail`, at most `most` contexts visited."""
    vocab = space.tokenizer.vocab
    is_text = ~np.isin(vocab.order, space.stop_tokens)
    before = space.scorer.backend.evaluations
    sums, non_text, total = np.zeros(STOP + 1), 0.0, 0.0
    covers: list[Cover] = []
    queue: list[tuple[float, int, TokenPath]] = [(0.0, 0, ())]
    visited = 0
    while queue and visited < most and sum(np.exp(-q[0]) for q in queue) > BOUND * max(total, 1e-300):
        batch = [heapq.heappop(queue) for _ in range(min(BATCH, len(queue), most - visited))]
        rows = space.scorer.rows([fixed + tokens for _, _, tokens in batch], space.stop)
        visited += len(batch)
        for (cost, read, tokens), row in zip(batch, rows, strict=True):
            weights = np.exp(row[vocab.order] - cost) * is_text
            head = tail[read:]
            low, high = vocab.prefix_range(head)
            sums[:STOP] += vocab.next_byte_sums(weights[low:high], low, high, len(head))
            if not head:
                covers.append(Cover(tokens, -cost, b""))
                stops = float(np.exp(row[space.stop_tokens] - cost).sum())
                sums[STOP] += stops
                total += float(np.exp(-cost))
                non_text += float(np.exp(-cost)) - stops - float(weights.sum())
                continue
            low = vocab.exact_range(head, low, high)[1]
            total += float(weights[low:high].sum())
            covers += [
                Cover(
                    (*tokens, int(vocab.order[r])),
                    float(np.log(weights[r])),
                    vocab.sorted_bytes[r][len(head) :],
                )
                for r in range(low, high)
                if weights[r] > 0
            ]
            for length in range(1, min(len(head), vocab.max_token_bytes) + 1):
                start, end = vocab.exact_range(head[:length], *vocab.prefix_range(head[:length]))
                for r in start + np.flatnonzero(weights[start:end]):
                    item = (-float(np.log(weights[r])), read + length, (*tokens, int(vocab.order[r])))
                    heapq.heappush(queue, item)
    unvisited = sum(float(np.exp(-q[0])) for q in queue)
    norm = total + unvisited
    return ByteDistribution(
        law="all",
        bytes_=tuple((sums[:STOP] / norm).tolist()),
        stop=float(sums[STOP] / norm),
        non_canonical=max(0.0, non_text / norm),
        dropped_bound=unvisited / norm,
        covers=tuple(sorted(covers, key=lambda c: -c.logp)),
        model_evaluations=space.scorer.backend.evaluations - before,
        logp_tail=float(np.log(norm)),
    )
