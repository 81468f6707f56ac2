"""Options and loading shared by the commands that run a model in this process."""

from __future__ import annotations

import argparse

from engine.completer import Completer
from engine.model import DEFAULT_CONTEXT_TOKENS, load_model
from engine.models.progress import bar


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """--model, --kv, --context."""
    parser.add_argument(
        "--model",
        metavar="NAME|PATH",
        help="model of the registry, or a GGUF file (default: the default model)",
    )
    parser.add_argument("--kv", default="f32", choices=("f16", "f32", "q8_0"), help="type of keys and values")
    parser.add_argument(
        "--context", type=int, default=DEFAULT_CONTEXT_TOKENS, metavar="TOKENS", help="context length"
    )


def load_for_command(options: argparse.Namespace) -> Completer:
    """The model the options name, pulled with a progress bar if need be. Raises MidwordError."""
    with bar() as report:
        return Completer(
            load_model(options.model, kv=options.kv, context_length=options.context, progress=report)
        )
