"""Options and loading shared by the commands that run a model in this process."""

from __future__ import annotations

import argparse

from engine.choices import DEFAULT_CONTEXT_TOKENS, GGUF_BACKENDS, KV_TYPES
from engine.completer import Completer
from engine.model import load_model
from engine.models.progress import bar
from lsp_server.cli.numbers import count


def add_model_options(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """--model (a list if `several` may be given), --kv, --backend, --context."""
    parser.add_argument(
        "--model",
        metavar="NAME|PATH",
        action="append" if several else "store",
        help="model of the registry, a GGUF file, or a folder of safetensors (default: the default model)"
        + ("; give it several times for an ensemble, mixed byte by byte" if several else ""),
    )
    parser.add_argument("--kv", default="auto", choices=KV_TYPES, help="type of keys and values")
    parser.add_argument(
        "--backend",
        default="auto",
        choices=GGUF_BACKENDS,
        help="what evaluates a GGUF (default: %(default)s)",
    )
    parser.add_argument(
        "--context", type=count, default=DEFAULT_CONTEXT_TOKENS, metavar="TOKENS", help="context length"
    )


def load_for_command(options: argparse.Namespace, model: str | None = None) -> Completer:
    """`model`, or the one the options name, pulled with a progress bar if need be. Raises MidwordError."""
    with bar() as report:
        name = model or options.model
        return Completer(
            load_model(
                name, kv=options.kv, backend=options.backend, context_length=options.context, progress=report
            )
        )
