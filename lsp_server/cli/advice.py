"""What `midword doctor` found, and what it follows from that: facts in, sentences out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lsp_server.cli.machine import Memory, Processor

SLOW_REQUEST_MS = 1500
"""A typical completion above this is felt while typing."""
_WORKING_BYTES = 500_000_000
"""Keys and values, vocabulary and Python, beside the weights."""
_EXPECTED = ("AVX2", "FMA", "F16C", "AVX512", "NEON", "DOTPROD")
_REBUILD = "pip install --force-reinstall --no-deps --no-cache-dir --no-binary :all: llama-cpp-python"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model that would run."""

    name: str
    path: str
    """Empty if it has not been pulled."""
    weights: str
    tuned: str | None
    """The weight type `midword models tune` picked here."""
    registered: bool
    size_bytes: int
    backend: str | None
    """What evaluates it: native, llama.cpp or torch; None if that shows only when it is here."""
    why_not_native: str | None = None
    """Why a GGUF is left to llama.cpp (`engine.backends.native`)."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Measured on the engine's own backend, best of a few."""

    load_ms: float
    prefill_tokens_per_s: float
    decode_ms: float
    """One token after a context of 256."""
    batch8_ms: float
    """Eight tokens at once: what covers and alternatives cost."""

    @property
    def request_ms(self) -> float:
        """A typical completion while typing: 32 new prompt tokens, 3 batches of eight, 16 single tokens."""
        return 32e3 / self.prefill_tokens_per_s + 3 * self.batch8_ms + 16 * self.decode_ms


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything `midword doctor` looked at."""

    midword: str
    python: str
    system: str
    packages: Mapping[str, str | None]
    """Distribution → version, None if it is not installed."""
    processor: Processor
    memory: Memory
    build: tuple[str, ...]
    """Processor features llama.cpp was compiled for."""
    model: ModelFacts | None
    speed: Speed | None
    native_kernels: bool
    """Whether the engine's own loops are compiled (`engine/kernels.py`)."""
    instructions: tuple[str, ...]
    """The sets that the native forward pass can use here, the best first."""


def advise(facts: Facts) -> list[str]:
    """What to change, one sentence each; empty if all is well."""
    return [*_on_model(facts), *_on_processor(facts), *_on_kernels(facts), *_on_speed(facts)]


def _on_model(facts: Facts) -> Iterator[str]:
    model, available = facts.model, facts.memory.available_bytes
    if model is None:
        return
    if not model.path:
        yield f"The model is not on this machine yet: run `midword models pull {model.name}`."
    elif model.registered and model.tuned is None:
        yield (
            f"Run `midword models tune {model.name}`: it measures which weight type is best on this machine."
        )
    needed = model.size_bytes + _WORKING_BYTES
    if 0 < available < needed:
        yield (
            f"Memory is short: {available / 1e6:,.0f} MB are free, about {needed / 1e6:,.0f} MB are needed; "
            "end other programs or take a smaller model."
        )


def _on_processor(facts: Facts) -> Iterator[str]:
    processor = facts.processor
    here, build = set(processor.features), set(facts.build)
    if here and not here & {"AVX2", "NEON"}:
        yield "The processor has no AVX2: completions will be slow; take the smallest model."
    if build and here:
        unused = [name for name in _EXPECTED if name in here - build]
        lacking = [name for name in _EXPECTED if name in build - here]
        if unused:
            yield f"llama.cpp was built without {', '.join(unused)}, which this processor has: `{_REBUILD}`."
        if lacking:
            yield f"llama.cpp was built for {', '.join(lacking)}, which this processor lacks: `{_REBUILD}`."
    if processor.allowed < processor.processors:
        yield (
            f"Only {processor.allowed:g} of {processor.processors} processors may be used here, but the "
            f"engine starts {processor.processors} threads that wait for each other: allow it all of them."
        )


def _on_kernels(facts: Facts) -> Iterator[str]:
    if not facts.native_kernels:
        yield (
            "The engine's own loops run in NumPy, which is slower: unset MIDWORD_KERNELS, or install midword "
            "again where there is a C++ compiler."
        )


def _on_speed(facts: Facts) -> Iterator[str]:
    if facts.speed is None:
        return
    if facts.processor.load > facts.processor.processors / 2:
        yield f"The machine was busy (load {facts.processor.load:.1f}): run this again when it is idle."
    if facts.speed.request_ms > SLOW_REQUEST_MS:
        yield (
            f"A completion takes about {facts.speed.request_ms / 1000:.1f} s here: "
            "lower `maxTokens` in your editor, or take a smaller model."
        )
