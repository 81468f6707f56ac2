"""What is asked in an evaluation: a cursor, what was taken out there, and how an answer is checked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.types import Excerpt


class Check(Protocol):
    """Runs a document's own tests."""

    def passes(self, document: bytes) -> bool:
        """Whether they pass with `document`, which is prefix + completion + suffix."""
        ...


@dataclass(frozen=True, slots=True)
class Item:
    """A cursor between `prefix` and `suffix`; `middle` was there."""

    item_id: str
    group: str
    """What is drawn together in a bootstrap: a file, or a problem."""
    kind: str
    """The class of cursor, for tables."""
    language: str
    prefix: bytes
    suffix: bytes
    middle: bytes
    token_rest: bytes = b""
    """What is left of the token at the cursor: a beginning of `middle`; b"" where that is not asked."""
    check: Check | None = None
    path: str = ""
    """Of the file, where that matters."""
    related: tuple[Excerpt, ...] = ()
    """Excerpts of other files that are shown with it."""

    @property
    def max_lines(self) -> int:
        """The line budget of every method: as many lines as were taken out."""
        return self.middle.count(b"\n") + 1


def chosen(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """`count` of the items, the groups in turn; the same for the same seed."""
    random_ = random.Random(seed)
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    pools = list(groups.values())
    random_.shuffle(pools)
    for pool in pools:
        random_.shuffle(pool)
    found: list[Item] = []
    while pools and len(found) < count:
        for pool in pools:
            if len(found) < count:
                found.append(pool.pop())
        pools = [pool for pool in pools if pool]
    return found
