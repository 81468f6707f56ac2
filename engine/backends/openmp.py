"""How long llama.cpp's threads spin for each other before they sleep.

A decode of a small model has a few hundred barriers, each of some microseconds. A thread that sleeps at
once (OMP_WAIT_POLICY=passive) wakes too late for the next operation and doubles the time of a step; one
that spins for long (OpenMP's default) takes the processor from the very thread it waits for, should other
programs want it too. Between the two lies the wait of a few microseconds, after which a thread sleeps
(docs/decisions/0005-threads-spin-briefly.md).
"""

from __future__ import annotations

import os

SPINS = 300
"""Turns of the waiting loop before a thread sleeps."""


def spin_briefly() -> None:
    """Asks GNU OpenMP for SPINS turns, unless the environment says otherwise.

    Has no effect once libgomp is loaded, nor on other OpenMP libraries.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
