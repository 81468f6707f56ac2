"""What is found again: typed along, gone back, accepted; and what must not be."""

from __future__ import annotations

import random

from lsp_server.known_texts import TRUSTED_REST_BYTES, Answer, KnownTexts
from lsp_server.windows import Place, place_in


def at(line: bytes, suffix: bytes = b"\n", above: bytes = b"", uri: str = "u") -> Place:
    return Place(uri, above, line, suffix, at_top=True)


def texts(known: KnownTexts, place: Place) -> tuple[bytes, ...] | None:
    answer = known.lookup(place)
    return answer.texts if answer else None


def test_what_is_typed_along_leaves_the_rest_and_a_backspace_restores_it() -> None:
    known = KnownTexts()
    known.remember(at(b"x.hel"), Answer((b"lo()", b"p()")))
    assert texts(known, at(b"x.hel")) == (b"lo()", b"p()")
    assert texts(known, at(b"x.hell")) == (b"o()",)
    assert texts(known, at(b"x.help")) == (b"()",)
    assert texts(known, at(b"x.hel")) == (b"lo()", b"p()")


def test_anything_else_is_a_miss() -> None:
    known = KnownTexts()
    known.remember(at(b"x.hel"), Answer((b"lo()", b"p()")))
    assert known.lookup(at(b"x.hel", uri="v")) is None
    assert known.lookup(at(b"x.hel", suffix=b"")) is None
    assert known.lookup(at(b"x.hel", above=b"import a\n")) is None
    assert known.lookup(at(b"x.he")) is None  # the letter was taken back: nobody was asked there
    assert known.lookup(at(b"y.hell")) is None
    assert known.lookup(at(b"x.helX")) is None
    assert known.lookup(at(b"x.hello()")) is None  # typed all of it


def test_the_newest_answer_comes_first() -> None:
    known = KnownTexts()
    known.remember(at(b"x.hel"), Answer((b"lo()",)))
    known.remember(at(b"x.he"), Answer((b"llium",)))
    assert texts(known, at(b"x.hel")) == (b"lium",)
    assert texts(known, at(b"x.hello")) == (b"()",)


def test_nothing_to_say_is_known_too_but_only_there() -> None:
    known = KnownTexts()
    known.remember(at(b"x = 1"), Answer(()))
    assert texts(known, at(b"x = 1")) == ()
    assert known.lookup(at(b"x = 1;")) is None
    known.remember(at(b"y"), Answer((), is_whole=False))  # ran out of time
    assert known.lookup(at(b"y")) is None


def test_the_end_of_a_text_that_a_limit_cut_is_not_trusted() -> None:
    known = KnownTexts()
    text = b"a_long_name(of_many"
    known.remember(at(b"x = "), Answer((text,), is_whole=False))
    assert texts(known, at(b"x = ")) == (text,)
    near_the_end = len(text) - TRUSTED_REST_BYTES
    assert texts(known, at(b"x = " + text[:near_the_end])) == (text[near_the_end:],)
    assert known.lookup(at(b"x = " + text[: near_the_end + 1])) is None


def test_a_text_of_several_lines_is_found_on_each_of_them() -> None:
    known = KnownTexts()
    document = [b"def f():\n", b"    if", b""]
    place = place_in("u", document[:2], 1, 6)
    known.remember(place, Answer((b" x:\n        return 1\n    return 2",)))
    typed = b"def f():\n    if x:\n        ret"
    lines = typed.splitlines(keepends=True)
    assert texts(known, place_in("u", lines, 2, 11)) == (b"urn 1\n    return 2",)
    assert texts(known, place_in("u", [*lines[:2], b"        return 1\n", b"    re"], 3, 6)) == (b"turn 2",)
    assert known.lookup(place_in("u", [*lines[:2], b"    ret"], 2, 7)) is None


def test_the_line_unused_for_longest_goes_first_and_all_bytes_are_counted() -> None:
    known = KnownTexts(budget_bytes=600)
    for number in range(5):
        known.remember(at(b"x", above=b"%d" % number * 100), Answer((b"y" * 40,)))
        known.lookup(at(b"x", above=b"0" * 100))  # in use
    assert known.held_bytes <= 600
    kept = [number for number in range(5) if known.lookup(at(b"x", above=b"%d" % number * 100))]
    assert kept == [0, 2, 3, 4] or kept == [0, 3, 4]
    known.remember(at(b"x", above=b"z" * 601), Answer((b"y",)))
    assert known.lookup(at(b"x", above=b"z" * 601)) is None and known.held_bytes == 0


def test_forgetting() -> None:
    known = KnownTexts()
    for uri in ("u", "v"):
        known.remember(at(b"x", uri=uri), Answer((b"y",)))
    known.forget("u")
    assert known.lookup(at(b"x", uri="u")) is None and known.lookup(at(b"x", uri="v"))
    known.forget()
    assert known.lookup(at(b"x", uri="v")) is None and known.held_bytes == 0


def test_lookup_agrees_with_a_search_of_everything() -> None:
    """The reference goes through all answers, newest first."""
    for seed in range(200):
        source = random.Random(seed)
        known, kept = KnownTexts(), []

        def word(most: int, source: random.Random = source) -> bytes:
            return bytes(source.choices(b"ab", k=source.randint(0, most)))

        for _ in range(12):
            place, answer = at(word(4), suffix=word(1)), Answer((word(4), word(4)))
            known.remember(place, answer)
            kept = [k for k in kept if k[0] != place] + [(place, answer)]
        for _ in range(30):
            place = at(word(6), suffix=word(1))
            assert known.lookup(place) == reference(kept, place), f"seed {seed}"


def reference(kept: list[tuple[Place, Answer]], place: Place) -> Answer | None:
    for there, answer in reversed(kept):
        if there.suffix == place.suffix and place.line.startswith(there.line):
            typed = place.line[len(there.line) :]
            rests = [text[len(typed) :] for text in answer.texts if text.startswith(typed)]
            rests = [rest for rest in rests if rest]
            if rests or not typed:
                return Answer(tuple(rests))
    return None
