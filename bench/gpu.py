"""How near is the torch backend to what the GPU can do?

    python -m bench.gpu [--shapes 0.1B,1.5B,7B] [--context 1024] [--tokenizer FILE]

Models of three shapes with random weights in bf16, which are as fast as trained ones. The limits are
measured on the same device: the bandwidth of a large copy, the arithmetic of a large product of matrices.
Printed are

- decode of one token and of trees of 8 and 32 tokens behind `--context` tokens, and the share of the
  bandwidth limit: weights and keys and values that must be read, over the bandwidth, over the time;
- prefill, and the share of the arithmetic limit;
- a keystroke: one byte more, the prompt resident, a completion of 8 tokens; and the share of it that is not
  spent in the model, the byte layer's. Random weights leave many covers alive, so this is the worst case;
- transformers' `generate` and, if it is installed, vLLM: milliseconds a token;
- the Triton kernels of trees, rows and 8-bit weights beside torch's own.

What was not measured says so, and why. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from engine.backends.base import Backend, StopSignal
from engine.cache import Scorer
from engine.completer import Completer
from engine.errors import MidwordError
from engine.fim import Template
from engine.model import Model
from engine.models.gguf import read_metadata
from engine.models.store import resolve
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.gguf_family import tokenizer_from_metadata
from engine.tokenizers.tokenizer_json import tokenizer_from_json
from engine.tree import ROOT, TokenTree
from engine.types import Request
from engine.vocab import FloatArray

TREES = (1, 8, 32)
KEYS = 12
CODE = Path(__file__).read_bytes()


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model."""

    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    tied: bool


SHAPES = {
    "0.1B": Shape(576, 1536, 30, 9, 3, 49_152, True),
    "1.5B": Shape(1536, 8960, 28, 12, 2, 151_936, True),
    "7B": Shape(3584, 18_944, 28, 28, 4, 152_064, False),
}
"""SmolLM2-135M, Qwen2.5-1.5B and Qwen2.5-7B."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `value` in `unit`, None if it was not measured; `share` of a limit."""

    shape: str
    question: str
    value: float | None = None
    unit: str = ""
    share: float | None = None
    reason: str = ""

    def cells(self) -> tuple[str, str, str, str]:
        """As printed."""
        if self.value is None:
            return self.shape, self.question, "not measured", self.reason
        share = "" if self.share is None else f"{self.share:.0%} of the limit"
        return self.shape, self.question, f"{self.value:,.2f} {self.unit}", share


QUESTIONS = (
    *(f"decode of {nodes}" for nodes in TREES), "prefill", "keystroke", "byte layer", "transformers generate",
    "vLLM", "tree attention, Triton", "tree attention, SDPA", "rows, Triton", "rows, torch",
    "layer of 8 bits, Triton", "layer of 16 bits, torch",
)  # fmt: skip


def not_measured(shape: str, reason: str, questions: Sequence[str] = QUESTIONS) -> list[Figure]:
    """A line for each question."""
    return [Figure(shape, question, reason=reason) for question in questions]


# -- the device -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Device:
    """A torch device, what it can do at most, and how its time is taken."""

    torch_device: Any
    bytes_per_s: float
    operations_per_s: float

    def seconds(self, work: Callable[[], object], repeats: int = 10) -> float:
        """Median time of `work`, everything on the device included."""
        return _seconds(self.torch_device, work, repeats)


def _seconds(torch_device: Any, work: Callable[[], object], repeats: int) -> float:
    import torch

    def wait() -> None:
        if torch_device.type == "cuda":
            torch.cuda.synchronize()

    times = []
    for turn in range(repeats + 2):
        wait()
        began = time.perf_counter()
        work()
        wait()
        if turn >= 2:
            times.append(time.perf_counter() - began)
    return float(np.median(times))


def device_of(torch_device: Any, *, copied_bytes: int = 2**30, matrix: int = 8192) -> Device:
    """Measures the limits of a device."""
    import torch

    source = torch.zeros(copied_bytes, dtype=torch.uint8, device=torch_device)
    target = torch.empty_like(source)
    copying = _seconds(torch_device, lambda: target.copy_(source), 10)
    a = torch.randn(matrix, matrix, device=torch_device).to(torch.bfloat16)
    product = _seconds(torch_device, lambda: a @ a, 10)
    return Device(torch_device, 2 * copied_bytes / copying, 2 * matrix**3 / product)


# -- models of random weights ---------------------------------------------------------------------


def config_of(shape: Shape, positions: int) -> Any:
    """A transformers config."""
    import transformers

    return transformers.LlamaConfig(
        hidden_size=shape.width, intermediate_size=shape.inner, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, vocab_size=shape.vocab,
        tie_word_embeddings=shape.tied, max_position_embeddings=positions, bos_token_id=None,
        eos_token_id=None, pad_token_id=None,
    )  # fmt: skip


def random_module(config: Any, attention: str, torch_device: Any) -> Any:
    """A transformers model that was never trained, in bf16 on the device."""
    import torch
    import transformers

    with torch.device(torch_device):
        module = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation=attention, dtype=torch.bfloat16
        )
    return module.eval()


def read_bytes(shape: Shape, used_cells: int) -> float:
    """What a decode must read: every weight but the rows of the embedding, and the keys and values."""
    head = shape.width // shape.heads
    layer = shape.width * (2 * shape.width + 2 * head * shape.kv_heads + 3 * shape.inner)
    weights = shape.layers * layer + shape.vocab * shape.width
    return 2.0 * (weights + used_cells * shape.layers * 2 * shape.kv_heads * head)


# -- measuring ------------------------------------------------------------------------------------


def chain(tokens: Sequence[int]) -> TokenTree:
    """A tree of siblings behind one token, as covers and drafts are; of one token if there is one."""
    return TokenTree(tuple(tokens), (ROOT, *[0] * (len(tokens) - 1)))


def backend_figures(
    name: str, shape: Shape, device: Device, backend: Backend, context_tokens: int
) -> list[Figure]:
    """Decodes of each size, and prefill."""
    rng, found = np.random.default_rng(0), []
    context = rng.integers(shape.vocab, size=context_tokens).tolist()
    stop = StopSignal()
    backend.score(context, TokenTree((), ()), [ROOT], stop)
    limit = read_bytes(shape, context_tokens) / device.bytes_per_s
    for nodes in TREES:

        def decode(nodes: int = nodes) -> None:
            tokens = rng.integers(shape.vocab, size=nodes).tolist()
            backend.score(context, chain(tokens), range(nodes), stop)

        seconds = device.seconds(decode)
        found.append(Figure(name, f"decode of {nodes}", seconds * 1e3, "ms", limit / seconds))

    def prefill() -> None:
        tokens = rng.integers(shape.vocab, size=context_tokens).tolist()
        backend.score(tokens, TokenTree((), ()), [ROOT], stop)

    seconds = device.seconds(prefill, 5)
    head = shape.width // shape.heads
    weights = read_bytes(shape, 0) / 2 - shape.vocab * shape.width
    attention = shape.layers * shape.heads * head * context_tokens
    operations = 2.0 * context_tokens * (weights + attention)
    share = operations / device.operations_per_s / seconds
    return [*found, Figure(name, "prefill", context_tokens / seconds, "tokens/s", share)]


class Stopwatch:
    """A backend whose time is taken."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self.seconds = backend, 0.0
        self.vocab_size, self.context_length = backend.vocab_size, backend.context_length

    @property
    def evaluations(self) -> int:
        """See `Backend`."""
        return self._backend.evaluations

    @property
    def tokens_evaluated(self) -> int:
        """See `Backend`."""
        return self._backend.tokens_evaluated

    def score(
        self, context: Sequence[int], tree: TokenTree, wanted: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        """See `Backend`."""
        began = time.perf_counter()
        rows = self._backend.score(context, tree, wanted, stop)
        self.seconds += time.perf_counter() - began
        return rows

    def close(self) -> None:
        """See `Backend`."""
        self._backend.close()


def keystroke_figures(name: str, backend: Backend, tokenizer: Tokenizer | None) -> list[Figure]:
    """The time of a key, and what of it is not the model's."""
    questions = ("keystroke", "byte layer")
    if tokenizer is None or len(tokenizer.vocab) > backend.vocab_size:
        return not_measured(name, "no tokenizer of at most this vocabulary; see --tokenizer", questions)
    watch = Stopwatch(backend)
    model = Model(name, tokenizer, Scorer(watch), Template("none"), (), 0)
    completer, times, in_model = Completer(model), [], []
    start = len(CODE) // 3
    for key in range(KEYS + 2):
        watch.seconds, began = 0.0, time.perf_counter()
        completer.complete(Request(CODE[: start + key], max_tokens=8), StopSignal())
        if key >= 2:
            times.append(time.perf_counter() - began)
            in_model.append(watch.seconds)
    share = 1 - sum(in_model) / sum(times)
    return [
        Figure(name, "keystroke", float(np.median(times)) * 1e3, "ms"),
        Figure(name, "byte layer", 100 * share, "% of a keystroke"),
    ]


def generate_figure(
    name: str, config: Any, device: Device, context_tokens: int, new_tokens: int = 32
) -> Figure:
    """transformers' own decoding, greedy, with its SDPA attention."""
    import torch

    module = random_module(config, "sdpa", device.torch_device)
    tokens = torch.randint(config.vocab_size, (1, context_tokens), device=device.torch_device)

    def generate(count: int) -> float:
        def work() -> None:
            module.generate(
                tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=count, min_new_tokens=count,
                do_sample=False, pad_token_id=0,
            )  # fmt: skip

        return device.seconds(work, 3)

    seconds = (generate(new_tokens + 1) - generate(1)) / new_tokens
    return Figure(name, "transformers generate", seconds * 1e3, "ms a token")


def vllm_figure(name: str, config: Any, device: Device, context_tokens: int, new_tokens: int = 32) -> Figure:
    """vLLM with random weights of the same config, if it is installed."""
    try:
        from vllm import LLM, SamplingParams
    except ImportError:
        return Figure(name, "vLLM", reason="vLLM is not installed")
    with tempfile.TemporaryDirectory() as folder:
        config.architectures = ["LlamaForCausalLM"]
        config.save_pretrained(folder)
        llm = LLM(folder, load_format="dummy", skip_tokenizer_init=True, dtype="bfloat16")
    prompt = [{"prompt_token_ids": np.random.default_rng(0).integers(1000, size=context_tokens).tolist()}]

    def generate(count: int) -> float:
        sampling = SamplingParams(temperature=0, max_tokens=count, min_tokens=count, detokenize=False)
        return device.seconds(lambda: llm.generate(prompt, sampling, use_tqdm=False), 3)

    return Figure(name, "vLLM", (generate(new_tokens + 1) - generate(1)) / new_tokens * 1e3, "ms a token")


def kernel_figures(name: str, shape: Shape, device: Device, context_tokens: int) -> list[Figure]:
    """A tree of 8 behind the context, and its 8 rows: the Triton kernels and torch's own operations."""
    import torch

    from engine.backends.torch_attention import Step, tree_attention
    from engine.backends.torch_int8 import quantise_rows
    from engine_kernels import torch_reference, triton_attention, triton_int8, triton_softmax

    where, head, nodes = device.torch_device, shape.width // shape.heads, 8
    used = -(-(context_tokens + nodes) // 64) * 64

    def noise(*sizes: int) -> Any:
        return torch.randn(*sizes, device=where).to(torch.bfloat16)

    query, keys, values = noise(shape.heads, nodes, head), *(noise(shape.kv_heads, used, head) for _ in "kv")
    seen = torch.arange(used, dtype=torch.int32, device=where).repeat(nodes, 1)
    each, positions = torch.arange(nodes, device=where), torch.full((nodes,), context_tokens, device=where)
    visible = Step(each, positions, each, each, seen, each).visible(None)
    logits, scale = noise(nodes, shape.vocab), head**-0.5
    inputs, weight = noise(nodes, shape.width), noise(shape.inner, shape.width)
    rounded, scales = quantise_rows(weight)
    work: dict[str, Callable[[], object]] = {
        "tree attention, Triton": lambda: triton_attention.tree_attention(
            query, keys, values, seen, each, positions, scale
        ),
        "tree attention, SDPA": lambda: tree_attention(query[None], keys, values, visible, scale),
        "rows, Triton": lambda: triton_softmax.log_softmax(logits),
        "rows, torch": lambda: torch_reference.log_softmax(logits),
        "layer of 8 bits, Triton": lambda: triton_int8.int8_linear(inputs, rounded, scales),
        "layer of 16 bits, torch": lambda: torch.nn.functional.linear(inputs, weight),
    }
    return [Figure(name, question, device.seconds(run, 20) * 1e3, "ms") for question, run in work.items()]


def measure(
    name: str, shape: Shape, device: Device, context_tokens: int, tokenizer: Tokenizer | None
) -> list[Figure]:
    """All figures of one shape; those that fail say why."""
    from engine.backends.torch import TorchBackend
    from engine.backends.torch_model import TorchModel

    config = config_of(shape, 2 * context_tokens + 512)

    def make(attention: str) -> Any:
        return random_module(config, attention, device.torch_device)

    model = TorchModel(f"random weights of {name}", config, make, device.torch_device)
    backend = TorchBackend(model, context_length=2 * context_tokens + 512)
    found = backend_figures(name, shape, device, backend, context_tokens)
    found += keystroke_figures(name, backend, tokenizer)
    backend.close()
    found.append(generate_figure(name, config, device, context_tokens))
    found.append(vllm_figure(name, config, device, context_tokens))
    return found + kernel_figures(name, shape, device, context_tokens)


def tokenizer_of(path: Path | None) -> Tokenizer | None:
    """From a GGUF or a tokenizer.json, else the default model's, None if that is not to be had."""
    if path is not None and path.suffix == ".json":
        return tokenizer_from_json(path)
    try:
        return tokenizer_from_metadata(read_metadata(path or resolve().path))
    except MidwordError:
        if path is not None:
            raise
        return None


def why_not() -> str:
    """What is missing for measuring; "" if nothing is."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    return "" if torch.cuda.is_available() else "no GPU"


def figures(options: argparse.Namespace) -> list[Figure]:
    """Of all shapes."""
    names = options.shapes.split(",")
    if reason := why_not():
        return [figure for name in names for figure in not_measured(name, reason)]
    import torch

    device, tokenizer = device_of(torch.device("cuda")), tokenizer_of(options.tokenizer)
    found = [
        Figure("", "copy", device.bytes_per_s / 1e9, "GB/s"),
        Figure("", "product of matrices", device.operations_per_s / 1e12, "TFLOP/s"),
    ]
    for name in names:
        found += measure(name, SHAPES[name], device, options.context, tokenizer)
        torch.cuda.empty_cache()
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description="The torch backend against the limits of the GPU.")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--context", type=int, default=1024, help="tokens before what is measured")
    parser.add_argument(
        "--tokenizer", type=Path, help="GGUF or tokenizer.json (default: the default model's)"
    )
    found = figures(parser.parse_args(argv))
    table = Table(title="The torch backend and the limits of the GPU")
    for heading in ("shape", "question", "figure", ""):
        table.add_column(heading)
    for figure in found:
        table.add_row(*figure.cells())
    Console(width=110).print(table)
    keys = ("shape", "question", "value", "unit", "share", "reason")
    print(json.dumps([{key: getattr(figure, key) for key in keys} for figure in found]))


if __name__ == "__main__":
    main()
