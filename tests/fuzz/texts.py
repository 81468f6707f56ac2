"""Bytes of every kind, and edits of them."""

from __future__ import annotations

import random

from tests.engine.corpus import CODE, STDLIB, TORTURE
from tests.fuzz.worlds import CONTROL, World

ODD = (
    b"\0", b"\xff", b"\xc3", b"\xe2\x96", b"\x80", b"\xf0\x9f", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5",
    b"\r\n", b"\r", b"\n\n\n", b"\t", b"    ", b" \n", b"\xef\xbb\xbf", "▁".encode(), "e\u0301".encode(),
    "🙂".encode(), "👩\u200d👧".encode(), "\u2028\u3000".encode(), "한국你好".encode(), b"don't", b"12345",
    *(text.encode() for text in CONTROL), b"<div>", b"<0x0A>", b"</s>", "été".encode(),
)  # fmt: skip


def piece(rng: random.Random, world: World) -> bytes:
    """Some bytes, mostly such as the world's vocabulary has longer tokens for."""
    kind = rng.random()
    if world.alphabet and kind < 0.8:
        return b"".join(rng.choices(world.alphabet, k=rng.randint(1, 6)))
    if kind < 0.5:
        source = rng.choice((CODE, TORTURE, STDLIB))
        start = rng.randrange(len(source))
        return source[start : start + rng.randint(1, 60)]
    if kind < 0.8:
        return rng.choice(ODD)
    if kind < 0.9:
        return rng.choice((rng.choice(world.alphabet or ODD)[:1], rng.randbytes(1))) * rng.choice(
            (2, 9, 40, 150)
        )
    return rng.randbytes(rng.randint(1, 6))


def text(rng: random.Random, world: World, most_pieces: int) -> bytes:
    """A text of up to that many pieces."""
    return b"".join(piece(rng, world) for _ in range(rng.randint(0, most_pieces)))


def edited(rng: random.Random, world: World, prefix: bytes, suffix: bytes) -> tuple[bytes, bytes]:
    """Prefix and suffix after one edit, or one movement of the cursor."""
    kind = rng.random()
    if kind < 0.45:
        return prefix + piece(rng, world)[: rng.choice((1, 1, 3, 60))], suffix
    if kind < 0.65:
        return prefix[: len(prefix) - rng.choice((1, 1, 2, 8))], suffix
    if kind < 0.8:
        both, cursor = prefix + suffix, rng.randint(0, len(prefix) + len(suffix))
        return both[:cursor], both[cursor:]
    if kind < 0.9:
        return prefix, text(rng, world, 4)
    return text(rng, world, 6), text(rng, world, 4)
