"""One process at a time per model folder.

The operating system holds the lock and drops it when its holder dies, so there are no stale locks.
The lock file itself stays: removing it would let two processes hold two files of one name.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.models.progress import Report, silent

if sys.platform == "win32":
    import msvcrt

    def _try(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def exclusive(path: Path, report: Report = silent, poll_s: float = 0.1) -> Iterator[None]:
    """Hold the lock at `path` (made if needed), waiting while another process or thread has it.

    Raises OSError if the lock file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while True:
            try:
                _try(handle)
                break
            except (BlockingIOError, PermissionError):
                report("waiting for another midword that works on this model", 0, None)
                time.sleep(poll_s)
        yield
    finally:
        os.close(handle)
