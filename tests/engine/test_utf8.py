"""UTF-8 that ends inside a character, against Python's decoder."""

from __future__ import annotations

import itertools

from engine.tokenizers.utf8 import continuing_bytes, partial_length


def goes_on(partial: bytes, byte: int) -> bool:
    """Whether `byte` makes a character of `partial`, or a longer beginning of one."""
    longer = partial + bytes([byte])
    try:
        return bool(longer.decode())
    except UnicodeDecodeError:
        return partial_length(longer) == len(longer)


def test_the_bytes_that_go_on_with_a_character() -> None:
    """Every beginning of one or two bytes, and some of three."""
    found = 0
    rests = [((),), itertools.product(range(0x80, 0xC0)), itertools.product(range(0x80, 0xC0, 3), repeat=2)]
    for rest in itertools.chain.from_iterable(rests):
        for partial in (bytes([lead, *rest]) for lead in range(0xC0, 0x100)):
            if partial_length(partial) == len(partial):
                first, last = continuing_bytes(partial)
                assert [byte for byte in range(256) if goes_on(partial, byte)] == [*range(first, last + 1)]
                found += 1
    assert found > 2000
