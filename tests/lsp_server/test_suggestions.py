from __future__ import annotations

from lsp_server.suggestions import Entry, Suggestions

ENTRY = Entry("u", b"x.hel", b"\n", (b"lo()", b"p()"))


def test_what_is_typed_along_leaves_the_rest() -> None:
    kept = Suggestions()
    kept.remember(ENTRY)
    assert kept.lookup("u", b"x.hel", b"\n") == (b"lo()", b"p()")
    assert kept.lookup("u", b"x.hell", b"\n") == (b"o()",)
    assert kept.lookup("u", b"x.help", b"\n") == (b"()",)


def test_anything_else_is_a_miss() -> None:
    kept = Suggestions()
    kept.remember(ENTRY)
    assert kept.lookup("v", b"x.hel", b"\n") == ()  # another path
    assert kept.lookup("u", b"x.hel", b"") == ()  # another suffix
    assert kept.lookup("u", b"x.he", b"\n") == ()  # backspace
    assert kept.lookup("u", b"y.hell", b"\n") == ()  # an edit further up
    assert kept.lookup("u", b"x.helX", b"\n") == ()  # typed something else
    assert kept.lookup("u", b"x.hello()", b"\n") == ()  # typed all of it


def test_the_newest_answer_comes_first_and_the_oldest_goes_first() -> None:
    kept = Suggestions(cache_bytes=2 * ENTRY.size_bytes)
    kept.remember(ENTRY)
    kept.remember(Entry("u", b"x.hel", b"\n", (b"lium",)))
    assert kept.lookup("u", b"x.hel", b"\n") == (b"lium",)
    kept.remember(Entry("u", b"z" * ENTRY.size_bytes, b"", (b"a",)))
    assert kept.lookup("u", b"x.help", b"\n") == ()


def test_an_acceptance_counts_once() -> None:
    kept = Suggestions()
    item_id = kept.show()
    assert kept.accept(item_id) and kept.accepted == 1
    assert not kept.accept(item_id) and not kept.accept("never shown") and kept.accepted == 1


def test_a_large_file_is_kept_within_the_budget() -> None:
    kept = Suggestions(cache_bytes=100)
    kept.remember(Entry("u", b"x" * 101, b"", (b"y",)))
    assert kept.lookup("u", b"x" * 101, b"") == ()
