"""A transformer reads a Markov chain as tokens. Does it know the chain's bytes?

    python -m examples.markov_recovery [--steps 2000] [--seed 0] [--plot docs/markov.svg]

The chain has order 3 over the bytes a and b. Byte pair encoding makes tokens of its texts, a transformer
learns the tokens, and the question is what it says of the next *byte*. The naive estimate feeds encode(text)
and sums the next token's probabilities by first byte. It is far off: that a text's last token is "ab" and not
"abba" tells the model what does not come next. The law's estimate, over all canonical covers, gives the chain
back. Experiment: Phan et al. 2025 (arXiv 2410.09303). The last line of output is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from engine.backends.base import StopSignal
from engine.backends.fake import FakeBackend
from engine.cache import Scorer
from engine.covers import CoverSpace
from engine.tokenizers.byte_level import ByteLevelBPE
from engine.tokenizers.pretokenize import Pretokenizer
from engine.tree import TokenPath
from engine.vocab import FloatArray, TokenKind, Vocab
from examples.tiny_transformer import TinyTransformer, Tokens

ORDER, LENGTH, BATCH = 3, 16, 64
"""Of the chain in bytes; of the transformer's texts in tokens; texts a step."""
STATES = [bytes(state) for state in product(b"ab", repeat=ORDER)]
MERGES, POOL = 12, 8000
"""Of the tokenizer; texts to learn from."""
TESTED = (12, 24)
"""Least and most bytes of the texts whose next byte is asked for."""


@dataclass(frozen=True)
class Chain:
    """P(next byte is a | the last three bytes)."""

    a_after: dict[bytes, float]

    @classmethod
    def random(cls, seed: int) -> Chain:
        """Shares between 0.1 and 0.9."""
        shares = np.random.default_rng(seed).uniform(0.1, 0.9, len(STATES))
        return cls(dict(zip(STATES, shares.tolist(), strict=True)))

    def text(self, random: np.random.Generator, size: int) -> bytes:
        """`size` bytes, from a random state on."""
        text = bytearray(STATES[random.integers(len(STATES))])
        for draw in random.random(size).tolist():
            text.append(b"ba"[draw < self.a_after[bytes(text[-ORDER:])]])
        return bytes(text[ORDER:])


def trained_tokenizer(text: bytes, merges: int) -> ByteLevelBPE:
    """Byte pair encoding trained on `text`: the most frequent pair is merged, again and again."""
    spelled = [b"a", b"b"]
    tokens = [spelled.index(text[k : k + 1]) for k in range(len(text))]
    found: list[tuple[int, int, int]] = []
    for _ in range(merges):
        left, right = max(Counter(pairwise(tokens)).items(), key=lambda item: (item[1], item[0]))[0]
        merged = spelled[left] + spelled[right]
        if merged not in spelled:
            spelled.append(merged)
        found.append((left, right, spelled.index(merged)))
        tokens = _replaced(tokens, *found[-1])
    kinds = [TokenKind.NORMAL] * len(spelled) + [TokenKind.CONTROL]
    return ByteLevelBPE(Vocab([*spelled, b""], kinds), found, Pretokenizer("none"))


def _replaced(tokens: list[int], left: int, right: int, merged: int) -> list[int]:
    result: list[int] = []
    for token in tokens:
        if result and result[-1] == left and token == right:
            result[-1] = merged
        else:
            result.append(token)
    return result


@dataclass(frozen=True)
class Recovery:
    """Estimates of P(next byte is a), one a tested text, beside the truth."""

    states: tuple[bytes, ...]
    truth: FloatArray
    exact: FloatArray
    naive: FloatArray

    def by_state(self, estimates: FloatArray) -> list[float]:
        """The mean of `estimates` in each of STATES."""
        chosen = [[state == wanted for state in self.states] for wanted in STATES]
        return [float(estimates[mask].mean()) for mask in chosen]

    def error(self, estimates: FloatArray) -> float:
        """Mean absolute error over the tested texts: the total variation."""
        return float(np.abs(estimates - self.truth).mean())


def recover(chain: Chain, steps: int, seed: int, texts: int = 300) -> Recovery:
    """Trains a tokenizer and a transformer on the chain, and asks both ways for the next byte."""
    random = np.random.default_rng(seed)
    tokenizer = trained_tokenizer(chain.text(random, 20_000), MERGES)
    separator = len(tokenizer.vocab) - 1
    model = TinyTransformer(len(tokenizer.vocab), LENGTH, seed)
    # Longer than what is kept, so that no text's end shows in its tokens.
    size = (LENGTH + 2) * tokenizer.vocab.max_token_bytes
    pool = [tokenizer.encode(chain.text(random, size))[:LENGTH] for _ in range(min(POOL, steps * BATCH))]
    lessons: Tokens = np.array([(separator, *path) for path in pool])
    for step in track(range(steps), "training", console=Console(stderr=True)):
        model.train(random.choice(lessons, BATCH), rate=0.01 * (1 - step / steps))

    def row(path: TokenPath) -> FloatArray:
        seen: Tokens = np.array([path])
        return np.asarray(model.log_probabilities(seen)[0, -1])

    sizes = random.integers(*TESTED, texts, endpoint=True)
    tested = [chain.text(random, int(size)) for size in sizes]
    scorer = Scorer(FakeBackend(row, len(tokenizer.vocab), LENGTH))
    space = CoverSpace(tokenizer, scorer, (), StopSignal())
    states = tuple(text[-ORDER:] for text in tested)
    return Recovery(
        states=states,
        truth=np.array([chain.a_after[state] for state in states]),
        exact=np.array([_exact(space, separator, text) for text in tested]),
        naive=np.array([_naive(space, separator, text) for text in tested]),
    )


def _exact(space: CoverSpace, separator: int, text: bytes) -> float:
    """P(next byte is a) by the law, among the texts that are canonical."""
    known = space.open((separator,), text).shares.known
    return float(known[ord("a")] / known.sum())


def _naive(space: CoverSpace, separator: int, text: bytes) -> float:
    """P(next byte is a) if the text's own tokens were all there is to know."""
    (row,) = space.scorer.rows([(separator, *space.tokenizer.encode(text))], space.stop)
    vocab = space.tokenizer.vocab
    sums = vocab.next_byte_sums(np.exp(row[vocab.order]), 0, vocab.rows, 0)
    return float(sums[ord("a")] / sums.sum())


def plot(found: Recovery, path: Path) -> None:
    """The three estimates by state, as an SVG. Needs matplotlib (the extra `report`)."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "midword", "font.size": 9})
    figure, axes = pyplot.subplots(figsize=(6.4, 2.8), layout="constrained")
    rows = (
        ("chain", found.truth, "#999999"),
        ("exact", found.exact, "#2b6cb0"),
        ("naive", found.naive, "#dd6b20"),
    )
    for place, (name, estimates, colour) in enumerate(rows):
        axes.bar(
            np.arange(len(STATES)) + 0.27 * (place - 1),
            found.by_state(estimates),
            0.25,
            label=name,
            color=colour,
        )
    axes.set(xticks=range(len(STATES)), xticklabels=[state.decode() for state in STATES], ylim=(0, 1))
    axes.set(xlabel="last three bytes", ylabel="P(next byte is a)")
    axes.legend(ncols=3, frameon=False, loc="upper right")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the experiment, prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description="A Markov chain's bytes from a model of its tokens.")
    parser.add_argument("--steps", type=int, default=2000, help="of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, default=None, help="write an SVG there")
    options = parser.parse_args(arguments)
    found = recover(Chain.random(options.seed), options.steps, options.seed)
    table = Table(title="P(next byte is a) after three bytes")
    columns = [found.by_state(estimates) for estimates in (found.truth, found.exact, found.naive)]
    for heading in ("after", "chain", "exact", "naive"):
        table.add_column(heading, justify="right")
    for state, *cells in zip(STATES, *columns, strict=True):
        table.add_row(state.decode(), *(f"{cell:.3f}" for cell in cells))
    Console().print(table)
    errors = {"exact": found.error(found.exact), "naive": found.error(found.naive)}
    if options.plot:
        plot(found, options.plot)
    print(json.dumps({"steps": options.steps, "seed": options.seed, "mean_error": errors}))


if __name__ == "__main__":
    main()
