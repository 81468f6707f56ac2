"""The numbers that statistics consist of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

Count = tuple[str, str, str, str, str]
"""Day (ISO), language, model, class of cursor, event."""
Latency = tuple[str, str, int]
"""Day (ISO), model, bucket (`statistics.bucket_of`)."""


@dataclass(slots=True)
class Batch:
    """Numbers to add, or that were read."""

    counts: Counter[Count] = field(default_factory=Counter)
    latencies: Counter[Latency] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.counts or self.latencies)
