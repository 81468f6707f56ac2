"""An endless stream of rows of equal length, packed with examples: what a training step eats."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from engine.errors import InputError
from engine.models.gguf import read_metadata
from engine.related import as_comments
from engine.tokenizers.gguf_family import tokenizer_from_metadata
from lsp_server.evaluation.neighbours import opened_beside
from lsp_server.related import Window, excerpt_below, excerpts_like, windows_of
from training.examples import Example, Related, Sentinels, make_example
from training.gather import SourceFile
from training.spans import choose, nodes_of

POOL = 64
"""Examples waiting for a row they fit into."""
RELATED_RATE = 0.3
OPEN_FILES = 6
"""So many examples show excerpts of other files of the package, chosen from so many."""
BYTES_PER_EXAMPLE = 3000
"""A file gives one example for each of these, so that long files count by their length."""

Row = tuple[Tensor, Tensor, Tensor]
"""Tokens, number of the example in the row (-1: nothing), weight of the loss; each (length,)."""


class Rows(IterableDataset[Row]):
    """Rows drawn from `files`, different ones in each worker, the same ones for the same `seed`."""

    def __init__(
        self, files: Sequence[SourceFile], base: Path, sentinels: Sentinels, length: int, seed: int,
        context_weight: float,
    ) -> None:  # fmt: skip
        self.files, self.base, self.sentinels = files, base, sentinels
        self.length, self.seed, self.context_weight = length, seed, context_weight
        self.packages = defaultdict[str, list[SourceFile]](list)
        for file in files:
            self.packages[file.package].append(file)

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
            nodes, related = nodes_of(text, file.language), self.related(file, rng)
            for _ in range(1 + len(text) // BYTES_PER_EXAMPLE):
                span = choose(text, nodes, rng)
                try:
                    example = make_example(text, span, tokenizer, self.sentinels, rng, related)
                except InputError:
                    break
                if len(example.tokens) <= self.length:
                    yield example

    def related(self, file: SourceFile, rng: random.Random) -> Related:
        """What is shown above a prefix of `file`: lines below, and in RELATED_RATE of the examples also
        excerpts of its package."""
        windows = list[Window]()

        def above(prefix: bytes, below: bytes) -> bytes:
            excerpts = excerpt_below(file.path, below)
            if rng.random() >= RELATED_RATE:
                return as_comments(excerpts, file.path)
            if not windows:
                for other in opened_beside(file.path, self.packages[file.package], OPEN_FILES, rng):
                    windows.extend(windows_of(other.path, other.text.encode().splitlines(keepends=True)))
            return as_comments(excerpts + excerpts_like(prefix, windows), file.path)

        return above

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
            weights[at:end] = self.context_weight
            weights[at + example.learned_from : end] = 1
            at, count = end, count + 1
        asked = (self.sentinels.prefix, self.sentinels.suffix, self.sentinels.middle)
        weights[np.isin(tokens, asked)] = 0
        return torch.from_numpy(tokens), torch.from_numpy(documents), torch.from_numpy(weights)
