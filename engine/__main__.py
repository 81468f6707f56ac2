"""`python -m engine serve`: the engine process, a child of the language server."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from engine.begun import begin
from engine.choices import DEFAULT_KV_BUDGET_MB, GGUF_BACKENDS, KV_TYPES

if TYPE_CHECKING:
    from engine.model import Model
    from engine.models.progress import Report

SERVED_CONTEXT_TOKENS = 2048
"""Enough for what a completion is shown (`types.SHOWN_PREFIX_BYTES`). llama.cpp takes the memory at once."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Serves framed msgpack (`engine.protocol`) on stdio until end of input or `shutdown`."""
    parser = argparse.ArgumentParser(prog="python -m engine", description=__doc__)
    serve = parser.add_subparsers(dest="command", required=True).add_parser("serve", help=__doc__)
    serve.add_argument(
        "--model", default=None, help="registry name, GGUF or folder (default: the default model)"
    )
    serve.add_argument("--kv", default="auto", choices=KV_TYPES, help="type of keys and values")
    serve.add_argument("--backend", default="auto", choices=GGUF_BACKENDS, help="what evaluates a GGUF")
    serve.add_argument(
        "--context", type=int, default=SERVED_CONTEXT_TOKENS, help="tokens in the KV cache at most"
    )
    serve.add_argument(
        "--kv-budget-mb",
        type=int,
        default=DEFAULT_KV_BUDGET_MB,
        help="memory for keys and values of documents, least recently used first to go",
    )
    options = parser.parse_args(argv)
    # Whatever a library prints must not end up inside a frame.
    frames_out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    opened_with = {
        "kv": options.kv,
        "backend": options.backend,
        "context_length": options.context,
        "kv_budget_mb": options.kv_budget_mb,
    }
    begun = begin(options.model, **opened_with)
    # The weights are read while these are imported.
    from engine.model import load_model
    from engine.service import Service

    def load(report: Report) -> Model:
        model = load_model(options.model, **opened_with, progress=report, begun=begun)
        gc.freeze()  # the tables live as long as the process: a full collection would look at them for 30 ms
        return model

    status = Service(sys.stdin.buffer, frames_out, load, {"kv": options.kv}).run()
    # A worker inside the model cannot be joined; nothing is left to save.
    frames_out.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
