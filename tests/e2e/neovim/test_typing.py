"""Real keys in a real Neovim, with the default model: what is shown is what gets into the file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.neovim.editor import Neovim
from tests.e2e.terminal import until

pytestmark = [pytest.mark.e2e, pytest.mark.model]
ROW = 43
"""The row of the demo file, from 0, in whose middle the tests type."""
BEFORE = "        totals[order."


def type_half(editor: Neovim, typed: str) -> None:
    """Change the rest of a line of the demo file, behind `totals[order.`, to `typed`."""
    editor.type(f"{ROW + 1}Gf.lC{typed}")


def assert_bytes(editor: Neovim, path: Path, head: bytes, taken: str, tail: bytes) -> None:
    """The file is prefix + accepted text + suffix."""
    until(lambda: taken in "\n".join(editor.lines()), lambda: f"{taken!r} in {editor.lines()}")
    assert editor.written(path) == head + taken.encode() + tail


def first_word(text: str) -> str:
    found = re.match(r"\s*(\w+|[^\w\s]+)", text)
    assert found is not None, text
    return found[0]


def halves(path: Path, typed: str) -> tuple[bytes, bytes]:
    """The bytes around the cursor behind `typed`."""
    lines = path.read_bytes().splitlines(keepends=True)
    assert lines[ROW].startswith(BEFORE.encode())
    return b"".join(lines[:ROW]) + (BEFORE + typed).encode(), b"\n" + b"".join(lines[ROW + 1 :])


def test_half_an_identifier_is_completed_and_accepted(
    open_editor: Any, orders: Path, default_model: list[str], attached: Callable[[Neovim], None]
) -> None:
    head, tail = halves(orders, "custo")
    editor = open_editor(orders, cmd=default_model)
    attached(editor)
    type_half(editor, "custo")
    shown = editor.wait_for_ghost(lambda text: text.startswith("mer"))
    until(
        lambda: f"{BEFORE}custo{shown}" in editor.screen()[editor.cursor()[1]],
        lambda: f"{shown!r} on the screen:\n" + "\n".join(editor.screen()),
    )
    assert editor.cursor()[0] == len(BEFORE + "custo"), "the cursor stands before the ghost text"
    assert editor.lines()[ROW] == BEFORE + "custo", "ghost text is not in the buffer"
    editor.press("Tab")
    assert_bytes(editor, orders, head, shown, tail)
    editor.leave_insert_mode()
    editor.press("u")
    until(
        lambda: editor.lines()[ROW] == BEFORE + "custo", lambda: "an undo takes back the accepted text only"
    )


def test_what_is_typed_along_needs_no_engine(
    open_editor: Any, orders: Path, default_model: list[str], attached: Callable[[Neovim], None]
) -> None:
    editor = open_editor(orders, cmd=default_model)
    attached(editor)
    type_half(editor, "custo")
    shown = editor.wait_for_ghost(lambda text: text.startswith("mer"))
    calls = editor.engine_calls()
    for count, letter in enumerate("mer", start=1):
        editor.type(letter)
        editor.wait_for_ghost(lambda text, rest=shown[count:]: text == rest)
    assert editor.engine_calls() == calls


def test_word_by_word_and_the_rest(
    open_editor: Any, orders: Path, default_model: list[str], attached: Callable[[Neovim], None]
) -> None:
    head, tail = halves(orders, "custo")
    editor = open_editor(orders, cmd=default_model)
    attached(editor)
    type_half(editor, "custo")
    shown = editor.wait_for_ghost(lambda text: text.startswith("mer"))
    taken = ""
    for _ in range(2):
        word = first_word(shown)
        taken, rest = taken + word, shown.removeprefix(word)
        editor.press("M-w")
        shown = editor.wait_for_ghost(lambda text, rest=rest: text == rest)
        assert editor.lines()[ROW] == f"{BEFORE}custo{taken}"
    editor.press("Tab")
    assert_bytes(editor, orders, head, taken + shown, tail)
    sent = [message["params"] for message in editor.lua("_G.sent") if "Partially" in message["method"]]
    assert len(sent) == 2
    assert taken.startswith(sent[0]["item"]["insertText"][: sent[0]["acceptedLength"]])


def test_alternatives(
    open_editor: Any, orders: Path, default_model: list[str], attached: Callable[[Neovim], None]
) -> None:
    head, tail = halves(orders, "custo")
    editor = open_editor(orders, cmd=default_model, alternatives=3)
    attached(editor)
    type_half(editor, "custo")
    first = editor.wait_for_ghost(lambda text: text.startswith("mer"))
    texts = [first]
    for _ in range(2):
        editor.press("M-n")
        texts.append(editor.wait_for_ghost(lambda text: text not in texts))
    editor.press("M-n")
    editor.wait_for_ghost(lambda text: text == first)
    editor.press("M-p")
    last = editor.wait_for_ghost(lambda text: text == texts[2])
    editor.press("Tab")
    assert_bytes(editor, orders, head, last, tail)


def test_several_lines_and_line_by_line(
    open_editor: Any, orders: Path, default_model: list[str], attached: Callable[[Neovim], None]
) -> None:
    editor = open_editor(orders, cmd=default_model, maxLines=4, maxTokens=48)
    attached(editor)
    header = "def orders_by_customer(orders: list[Order]) -> dict[str, list[Order]]:"
    editor.type(f"Go\r{header}")
    before = orders.read_bytes() + f"\n{header}".encode()
    shown = editor.wait_for_ghost(lambda text: text.count("\n") >= 2)
    assert len([line for line in shown.split("\n") if line.strip()]) > 1, "blank lines alone are not shown"
    _, first, second, *others = shown.split("\n")

    def screen_shows() -> bool:
        screen = [line.rstrip() for line in editor.screen()]
        row = editor.cursor()[1]
        return screen[row + 1 : row + 3] == [first.rstrip(), second.rstrip()]

    until(screen_shows, lambda: f"{shown!r} on the screen:\n" + "\n".join(editor.screen()))
    editor.press("M-l")
    rest = "\n".join(["", second, *others])
    editor.wait_for_ghost(lambda text: text.startswith(rest))
    assert editor.lines()[-1] == first
    shown = editor.ghost()
    editor.press("Tab")
    taken = f"\n{first}{shown}"
    until(lambda: "\n".join(editor.lines()).endswith(taken), lambda: "\n".join(editor.lines()))
    assert editor.written(orders) == before + taken.encode() + b"\n"


@pytest.mark.parametrize("ending", ["unix", "dos"])
def test_tabs_emoji_and_carriage_returns(
    open_editor: Any,
    tmp_path: Path,
    default_model: list[str],
    attached: Callable[[Neovim], None],
    ending: str,
) -> None:
    end = "\r\n" if ending == "dos" else "\n"
    before = end.join(["# Zählt 😀", "def total(numbers):", "\tresult = 0", "\tfor number in numbers:", ""])
    path = tmp_path / "a.py"
    path.write_bytes(f"{before}{end}print(1){end}".encode())
    encodings = {"general": {"positionEncodings": ["utf-16"]}} if ending == "dos" else {}
    editor = open_editor(
        path, cmd=default_model, maxLines=3, maxTokens=8, plugin={"client": {"capabilities": encodings}}
    )
    attached(editor)
    assert editor.lua("vim.bo.fileformat") == ending
    typed = "\t\tlog('é😀', result); result += num"
    editor.type(f":set noexpandtab noautoindent nocindent indentexpr=\r5GS\x16\t\x16\t{typed.lstrip()}")
    shown = editor.wait_for_ghost(lambda text: text.startswith("ber"))
    encoding = editor.lua("vim.lsp.get_clients()[1].offset_encoding")
    offers_utf_8 = ending == "unix" and editor.lua('vim.fn.has("nvim-0.11")') == 1
    assert encoding == ("utf-8" if offers_utf_8 else "utf-16")
    until(
        lambda: (typed.lstrip() + shown.split("\n")[0]).rstrip() in "\n".join(editor.screen()),
        lambda: "\n".join(editor.screen()),
    )
    editor.press("Tab")
    until(lambda: len(editor.ghost()) == 0 or editor.ghost() != shown, lambda: editor.ghost())
    taken = "\n".join(editor.lines()).partition(typed)[2].removesuffix("\nprint(1)")
    assert taken.expandtabs(editor.lua("vim.bo.tabstop")) == shown
    assert (
        editor.written(path) == (before + typed + taken.replace("\n", end) + f"{end}print(1){end}").encode()
    )
