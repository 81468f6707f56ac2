"""`.midwordignore`: files that a project keeps out, in gitignore's syntax.

Such a file holds for its folder and all below it, a deeper one overrides those above it, and what lies in a
folder that is kept out cannot be let in again: gitignore's rules. The files looked at are those in the
document's folder and in every folder above it, so that it does not matter which folder the editor opened.

A file that cannot be read, or has a line that is no pattern, keeps out everything in its folder and below
until it is corrected: whoever wrote it wanted something kept out, and we do not know what.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine.errors import InputError
from lsp_server.patterns import Patterns
from lsp_server.reasons import Reason

NAME = ".midwordignore"
MOST_BYTES = 2**20

_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Read:
    """A file as it was at `stamp`: its patterns, or why it has none."""

    stamp: _Stamp
    patterns: Patterns | None
    problem: str


class IgnoreFiles:
    """The `.midwordignore` files of this machine; one that has changed is read again."""

    def __init__(self) -> None:
        self._read: dict[str, _Read] = {}

    def reason(self, path: PurePosixPath) -> Reason | None:
        """Why the absolute `path` is kept out; None if it is not. It need not exist."""
        folders = list(reversed(path.parents))
        found = [(folder, self._current(folder / NAME)) for folder in folders]
        in_force = [(folder, read) for folder, read in found if read is not None]
        for folder, read in in_force:
            if read.patterns is None:
                where = folder / NAME
                return Reason(
                    "midwordignore-error", f"{where}: {read.problem}; all below it is kept out", True
                )
        for part, is_folder in _way(path, folders):
            if _decided(part, is_folder, in_force):
                return Reason("ignored-by-midwordignore", f"a {NAME} keeps the file out")
        return None

    def _current(self, path: PurePosixPath) -> _Read | None:
        try:
            status = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            return _Read((0, 0, 0), None, f"it cannot be read ({type(error).__name__})")
        stamp = status.st_mtime_ns, status.st_size, status.st_ino
        known = self._read.get(str(path))
        if known is None or known.stamp != stamp:
            known = self._read[str(path)] = _load(path, stamp)
        return known


def _load(path: PurePosixPath, stamp: _Stamp) -> _Read:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            return _Read(stamp, None, f"it is longer than {MOST_BYTES} bytes")
        return _Read(stamp, Patterns(content.decode("utf-8-sig").split("\n")), "")
    except UnicodeDecodeError:
        return _Read(stamp, None, "it is not UTF-8 text")
    except InputError as error:
        return _Read(stamp, None, str(error))
    except OSError as error:
        return _Read(stamp, None, f"it cannot be read ({error.strerror})")


def _way(path: PurePosixPath, folders: list[PurePosixPath]) -> Iterator[tuple[PurePosixPath, bool]]:
    """The folders down to `path`, and `path`; with each whether it is a folder."""
    yield from ((folder, True) for folder in folders[1:])
    yield path, False


def _decided(
    part: PurePosixPath, is_folder: bool, in_force: list[tuple[PurePosixPath, _Read]]
) -> bool | None:
    """Whether the deepest file above `part` that says anything about it keeps it out."""
    for folder, read in reversed(in_force):
        if folder in part.parents and read.patterns is not None:
            name = part.relative_to(folder).as_posix() + ("/" if is_folder else "")
            answer = read.patterns.about(name)
            if answer is not None:
                return answer
    return None
