"""Start the real language server several times, as an editor does, and measure how long it takes until
`initialize` is answered and until the first ghost text is there. Prints JSON as the last line."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from statistics import median

from rich.console import Console

from engine.errors import InputError
from lsp_server.cli.numbers import count
from lsp_server.cli.source import read_source
from lsp_server.replay.bench import default_files
from lsp_server.replay.buffer import Buffer
from lsp_server.replay.midword_peer import MidwordPeer
from lsp_server.replay.process import used


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the bench's arguments."""
    parser.add_argument("--times", type=count, default=7, help="starts (7)")
    parser.add_argument(
        "--model", default="", metavar="NAME|PATH", help="the model (default: the default one)"
    )
    parser.add_argument(
        "--file",
        type=Path,
        metavar="FILE",
        help="complete in the middle of this file, in a name of which the line's rest is taken away"
        " (default: one of Python's)",
    )


def run(options: argparse.Namespace) -> int:
    """Starts and asks. Raises MidwordError."""
    text = read_source(options.file or default_files()[0]).decode()
    cursor = _inside_a_name(text, len(text) // 2)
    typed = text[:cursor] + text[cursor:][text[cursor:].find("\n") :]
    with Console(stderr=True).status("starting the server"):
        starts = [asyncio.run(_start(typed, cursor, options.model)) for _ in range(options.times)]
    steps = {step: [start[step] for start in starts if step in start] for step in starts[0]}
    for step, values in steps.items():
        print(f"{step}: median {median(values):.0f}, from {min(values):.0f} to {max(values):.0f}")
    print(
        json.dumps(
            {"starts": options.times, "median": {step: median(v) for step, v in steps.items()}, **steps}
        )
    )
    return 0


async def _start(text: str, cursor: int, model: str) -> dict[str, float]:
    """Milliseconds of each step, and megabytes afterwards."""
    peer = MidwordPeer("midword", {"model": model, "powerSaving": "never"})
    buffer = Buffer(text)
    buffer.cursor = cursor
    await peer.open(buffer)
    try:
        ghost = await peer.ask(buffer, 0)
        memory = asdict(used(peer.pids()))
    finally:
        await peer.close()
    if not ghost.text:
        problem = next(iter(peer.problems), "nothing was shown at the cursor; choose another file")
        raise InputError(problem.removeprefix("midword: "))
    times = {f"{step} ms": ms for step, ms in peer.start_ms.items()}
    (cost,) = (cost for cost in peer.costs if cost.purpose == "asked")
    times |= {"of which prompt ms": cost.prompt_ms, "of which decoding ms": cost.total_ms - cost.prompt_ms}
    return times | {"peak MB": memory["peak_mb"], "anonymous MB": memory["anonymous_mb"]}


def _inside_a_name(text: str, offset: int) -> int:
    """The first place from `offset` on with two letters before it and one behind, not on the last line."""
    places = range(offset, text.rfind("\n"))
    found = next((at for at in places if text[at - 2 : at].isalpha() and text[at : at + 1].isalpha()), None)
    if found is None:
        raise InputError("there is no name in the second half of the file; choose another file")
    return found
