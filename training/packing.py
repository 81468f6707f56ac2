"""An endless stream of rows of equal length, packed with examples: what a training step eats."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from engine.errors import InputError
from engine.models.gguf import read_metadata
from engine.tokenizers.gguf_family import tokenizer_from_metadata
from training.examples import Example, Sentinels, make_example
from training.gather import SourceFile
from training.spans import choose, nodes_of

POOL = 64
"""Examples waiting for a row they fit into."""
BYTES_PER_EXAMPLE = 3000
"""A file gives one example for each of these, so that long files count by their length."""

Row = tuple[Tensor, Tensor, Tensor]
"""Tokens, number of the example in the row (-1: nothing), weight of the loss; each (length,)."""


class Rows(IterableDataset[Row]):
    """Rows drawn from `files`, different ones in each worker, the same ones for the same `seed`."""

    def __init__(
        self, files: Sequence[SourceFile], base: Path, sentinels: Sentinels, length: int, seed: int,
        loss_on_context: bool,
    ) -> None:  # fmt: skip
        self.files, self.base, self.sentinels = files, base, sentinels
        self.length, self.seed, self.loss_on_context = length, seed, loss_on_context

    def __iter__(self) -> Iterator[Row]:
        worker = get_worker_info()
        rng = random.Random(f"{self.seed} {worker.id if worker else 0}")
        examples = self.examples(rng)
        pool = [next(examples) for _ in range(POOL)]
        while True:
            yield self.row(pool, examples)

    def examples(self, rng: random.Random) -> Iterator[Example]:
        """Endless; none longer than a row. Files that the vocabulary cannot spell are passed over."""
        tokenizer = tokenizer_from_metadata(read_metadata(self.base))
        while True:
            file = rng.choice(self.files)
            text = file.text.encode()
            nodes = nodes_of(text, file.language)
            for _ in range(1 + len(text) // BYTES_PER_EXAMPLE // 4):
                try:
                    example = make_example(text, choose(text, nodes, rng), tokenizer, self.sentinels, rng)
                except InputError:
                    break
                if len(example.tokens) <= self.length:
                    yield example

    def row(self, pool: list[Example], examples: Iterator[Example]) -> Row:
        """The longest examples of the pool that fit, one after the other; the pool is filled again."""
        tokens = np.full(self.length, self.sentinels.end, np.int64)
        documents = np.full(self.length, -1, np.int64)
        weights = np.zeros(self.length, np.float32)
        at = count = 0
        while fitting := [e for e in pool if at + len(e.tokens) <= self.length]:
            example = max(fitting, key=lambda e: len(e.tokens)) if count else fitting[0]
            pool.remove(example)
            pool.append(next(examples))
            end = at + len(example.tokens)
            tokens[at:end], documents[at:end] = example.tokens, count
            weights[at if self.loss_on_context else at + example.learned_from : end] = 1
            at, count = end, count + 1
        asked = (self.sentinels.prefix, self.sentinels.suffix, self.sentinels.middle)
        weights[np.isin(tokens, asked)] = 0
        return torch.from_numpy(tokens), torch.from_numpy(documents), torch.from_numpy(weights)
