"""Numbers on the command line, as types of argparse: what is none is refused with a sentence."""

from __future__ import annotations

import argparse
import math


def count(text: str) -> int:
    """A whole number from 1 on."""
    return _whole(text, 1, "a whole number from 1 on")


def seed(text: str) -> int:
    """A whole number from 0 on."""
    return _whole(text, 0, "a whole number from 0 on")


def port(text: str) -> int:
    """A TCP port, or 0."""
    expected = "a port, a whole number from 0 to 65535"
    found = _whole(text, 0, expected)
    if found > 65535:
        raise _refused(text, expected)
    return found


def factor(text: str) -> float:
    """A number above 0."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < math.inf:
        raise _refused(text, "a number above 0")
    return found


def _whole(text: str, least: int, expected: str) -> int:
    try:
        found = int(text)
    except ValueError:
        raise _refused(text, expected) from None
    if found < least:
        raise _refused(text, expected)
    return found


def _refused(text: str, expected: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{text!r} found, {expected} expected")
