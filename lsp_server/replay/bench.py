"""Running traces against peers, one after the other, each file with a fresh process."""

from __future__ import annotations

import asyncio
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lsp_server.replay.editor import Editor, Manner
from lsp_server.replay.figures import Figures, Run, figures
from lsp_server.replay.peer import Peer
from lsp_server.replay.process import Used, used
from lsp_server.replay.traces import Trace, make_trace

DEFAULT_FILES = ("textwrap.py", "configparser.py", "json/decoder.py", "fractions.py")
"""Of Python's standard library: real code that is on every machine that runs this."""


def default_files() -> list[Path]:
    """The default files, as far as they are here."""
    library = Path(sysconfig.get_paths()["stdlib"])
    return [library / name for name in DEFAULT_FILES if (library / name).exists()]


def traces_of(files: Sequence[Path], keys: int, seed: int) -> list[Trace]:
    """A trace of each file, together about `keys` actions. Raises InputError."""
    from lsp_server.cli.source import read_source

    each = -(-keys // len(files))
    return [make_trace(path.name, read_source(path).decode(), each, seed) for path in files]


async def replay(
    make_peer: Callable[[], Peer], traces: Sequence[Trace], manner: Manner, on_key: Callable[[], None]
) -> Figures:
    """Play all traces, each with a peer of its own, and count. Raises MidwordError."""
    return figures([await _run(make_peer(), trace, manner, on_key) for trace in traces])


async def _run(peer: Peer, trace: Trace, manner: Manner, on_key: Callable[[], None]) -> Run:
    started: list[tuple[float, Used]] = []

    def first() -> None:
        """The start is over once the first question has been answered."""
        started.append((time.monotonic(), used(peer.pids())))

    editor = Editor(peer, trace, manner, on_key, first)
    try:
        session = await editor.play()
        await asyncio.sleep(0.2)  # the last notes on usage
        after = used(peer.pids())
    finally:
        await peer.close()
    began_s, before = started[0]
    return Run(peer, session, before, after, time.monotonic() - began_s)
