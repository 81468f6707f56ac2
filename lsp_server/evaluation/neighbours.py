"""Which other files of a package somebody has open: some of the same folder, then some of others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Protocol, TypeVar


class File(Protocol):
    """What has a path inside its package."""

    @property
    def path(self) -> str:
        """With slashes."""
        ...


AnyFile = TypeVar("AnyFile", bound=File)


def opened_beside(path: str, files: Sequence[AnyFile], most: int, rng: random.Random) -> list[AnyFile]:
    """At most `most` of the `files` but the one at `path`, those of its folder first."""
    folder, others = PurePosixPath(path).parent, [file for file in files if file.path != path]
    rng.shuffle(others)
    return sorted(others, key=lambda file: PurePosixPath(file.path).parent != folder)[:most]
