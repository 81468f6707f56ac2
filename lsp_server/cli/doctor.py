"""`midword doctor`: what is installed, how fast this machine is, what to change."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine import __version__
from engine.backends.base import StopSignal
from engine.backends.native_weights import known_instructions
from engine.errors import BackendError, MidwordError
from engine.kernels import NATIVE
from engine.model import load_model, why_not_native
from engine.models import gguf, store
from engine.models.hf_folder import check_folder, find_folder, folder_metadata
from engine.models.home import tuned_weights
from engine.models.names import file_of, find, is_path
from engine.models.quantize import llama_cpp
from engine.tokenizers.gguf_family import tokenizer_from_metadata
from engine.tree import ROOT, TokenTree
from lsp_server.cli import machine
from lsp_server.cli.advice import Facts, ModelFacts, Speed, advise

_PREFILL_TOKENS = 256
_REPEATS = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="do not measure the speed")
    parser.add_argument(
        "--model", metavar="NAME|PATH", help="the model to look at (default: the default model)"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the report. Raises, after it, the MidwordError that keeps midword from working here."""
    with Console(stderr=True).status("looking at this machine"):
        facts, problem = examine(options.model, measure=not options.quick)
    if options.json:
        report = asdict(facts) | {"advice": advise(facts), "problem": str(problem) if problem else None}
        if facts.speed:
            report["speed"]["request_ms"] = facts.speed.request_ms
        print(json.dumps(report, indent=1))
    else:
        _print_report(facts, Console())
    if problem:
        raise problem
    return 0


def examine(model: str | None, *, measure: bool) -> tuple[Facts, MidwordError | None]:
    """What is here, and the first thing that keeps midword from working. Nothing is downloaded."""
    packages, processor = machine.packages(), machine.processor()
    build: tuple[str, ...] = ()
    model_facts: ModelFacts | None = None
    speed: Speed | None = None
    problem: MidwordError | None = None
    try:
        for name in machine.ESSENTIAL:
            if packages[name] is None:
                raise BackendError(f"{name} is not installed; run `pip install --force-reinstall midword`")
        build = _build_features()
        model_facts = _look_at_model(model)
        if measure and model_facts.path:
            speed = _measure(model)
    except MidwordError as error:
        problem = error
    facts = Facts(
        midword=__version__, python=platform.python_version(), system=platform.platform(), packages=packages,
        processor=processor, memory=machine.memory(), build=build, model=model_facts, speed=speed,
        native_kernels=NATIVE is not None, instructions=tuple(known_instructions()),
    )  # fmt: skip
    return facts, problem


def _build_features() -> tuple[str, ...]:
    """What llama.cpp says it was compiled for, such as AVX2. Raises BackendError if it cannot be loaded."""
    said: bytes = llama_cpp().llama_print_system_info()
    pairs = [part.rpartition(":")[2].partition("=") for part in said.decode("utf-8", "replace").split("|")]
    return tuple(name.strip() for name, _, value in pairs if value.strip() not in ("", "0"))


def _look_at_folder(folder: Path, weights: str | None) -> ModelFacts:
    check_folder(folder)
    tokenizer_from_metadata(folder_metadata(folder))
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return ModelFacts(
        folder.name, str(folder), weights or "as it suits the device", None, False, size, "torch"
    )


def _look_at_model(name: str | None) -> ModelFacts:
    """The model that would run, if it is here and whole. Raises ModelError, InputError."""
    if name is not None and (found := find_folder(name)):
        return _look_at_folder(*found)
    if name is None or not is_path(name):
        entry, weights = find(name)
        if not file_of(entry, weights).exists():
            tuned, size = tuned_weights(entry.name), entry.size_bytes
            return ModelFacts(entry.name, "", weights, tuned, True, size, backend=None)
    file = store.resolve(name)
    checked = gguf.check(file.path)
    tokenizer_from_metadata(checked.metadata)
    reason = why_not_native(checked)
    return ModelFacts(
        name=file.name, path=str(file.path), weights=file.weights,
        tuned=tuned_weights(file.name) if file.entry else None, registered=file.entry is not None,
        size_bytes=file.path.stat().st_size, backend="llama.cpp" if reason else "native",
        why_not_native=reason,
    )  # fmt: skip


def _measure(name: str | None) -> Speed:
    """The speed of the engine's backend on this model, which is here; some seconds. Raises MidwordError."""
    began = time.perf_counter()
    backend = load_model(name, context_length=4 * _PREFILL_TOKENS).backend
    load_ms = (time.perf_counter() - began) * 1e3
    stop, nothing = StopSignal(), TokenTree((), ())

    def text(number: int) -> list[int]:
        """Tokens that share no beginning with those of another number, so that none is resident."""
        return [(number + 31 * k) % backend.vocab_size for k in range(_PREFILL_TOKENS)]

    def batch(number: int) -> TokenTree:
        return TokenTree(tuple(range(8 * number, 8 * number + 8)), (ROOT,) * 8)

    try:
        prefill_ms = _best_ms(lambda number: backend.score(text(number), nothing, [ROOT], stop))
        context = text(_REPEATS - 1)
        batch8_ms = _best_ms(lambda number: backend.score(context, batch(number), range(8), stop))
        decode_ms = _best_ms(lambda number: backend.score([*context, number], nothing, [ROOT], stop))
    finally:
        backend.close()
    return Speed(load_ms, _PREFILL_TOKENS / prefill_ms * 1e3, decode_ms, batch8_ms)


def _best_ms(measured: Callable[[int], object]) -> float:
    """Milliseconds of the fastest of `_REPEATS` calls, which are numbered."""
    times = []
    for number in range(_REPEATS):
        began = time.perf_counter()
        measured(number)
        times.append((time.perf_counter() - began) * 1e3)
    return min(times)


def _print_report(facts: Facts, console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for section, text in _rows(facts):
        table.add_row(f"[bold]{section}[/bold]", escape(text))
    console.print(table)
    for sentence in advise(facts):
        console.print(f"[yellow]→[/yellow] {escape(sentence)}", highlight=False)


def _rows(facts: Facts) -> list[tuple[str, str]]:
    processor, memory, model, speed = facts.processor, facts.memory, facts.model, facts.speed

    def installed(names: Sequence[str]) -> str:
        return ", ".join(f"{name} {facts.packages[name] or '(not installed)'}" for name in names)

    rows = [
        ("midword", f"{facts.midword}, Python {facts.python}, {facts.system}"),
        ("needed", installed(machine.ESSENTIAL)),
        ("optional", installed(machine.OPTIONAL)),
        ("processor", f"{processor.name}, {processor.processors} threads, {' '.join(processor.features)}"),
        ("llama.cpp", f"built for {' '.join(facts.build)}" if facts.build else "cannot be loaded"),
        ("kernels", "native" if facts.native_kernels else "NumPy"),
        ("memory", f"{memory.available_bytes / 1e9:.1f} of {memory.total_bytes / 1e9:.1f} GB free"),
    ]
    if model:
        tuned = f", tuned: {model.tuned}" if model.tuned else ""
        where = model.path or "not pulled"
        rows.append(
            ("model", f"{model.name} {model.weights}{tuned}, {model.size_bytes / 1e6:,.0f} MB, {where}")
        )
        if model.backend:
            how = f", not the native one: {model.why_not_native}" if model.why_not_native else ""
            how = f" with {facts.instructions[0]}" if model.backend == "native" else how
            rows.append(("backend", f"{model.backend}{how}"))
    if speed:
        rows += [
            ("prefill", f"{speed.prefill_tokens_per_s:,.0f} tokens/s"),
            ("decode", f"{speed.decode_ms:.1f} ms a token, {speed.batch8_ms:.1f} ms for eight at once"),
            ("request", f"about {speed.request_ms:,.0f} ms while typing; {speed.load_ms:,.0f} ms to load"),
        ]
    return rows
