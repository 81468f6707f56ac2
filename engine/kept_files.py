"""Files of what was derived and can be derived again, as pickles in the user's cache folder.

Pickles can run code when they are read. So they are trusted exactly as far as Python's own `.pyc` files: they
lie in the user's cache folder, and a file that anybody else could have written is not read.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from pathlib import Path
from typing import Any


def read(path: Path) -> Any:
    """What was kept at `path`; None if nothing is, or nothing that can be trusted and read."""
    try:
        with path.open("rb") as file:
            if not _is_ours(os.fstat(file.fileno())):
                return None
            kept = pickle.load(file)
        os.utime(path)
    except Exception:  # absent, cut short, or made by something else: then it is made anew
        return None
    return kept


def write(path: Path, pickled: bytes, most: int) -> None:
    """Keep `pickled`, and of the files with the same suffix the `most` that were read last. Nothing happens
    in a folder that cannot be written."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch(mode=0o600)
        part.write_bytes(pickled)
        part.replace(path)
        kept = sorted(path.parent.glob(f"*{path.suffix}"), key=lambda file: file.stat().st_mtime)
        for file in kept[:-most]:
            file.unlink()
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()


def _is_ours(status: os.stat_result) -> bool:
    """Whether nobody but this user (or root) can have written the file. Windows' home folders are private."""
    if sys.platform == "win32":
        return True
    return status.st_uid in (os.getuid(), 0) and not status.st_mode & 0o022
