"""Ghost text as items of an ordinary completion list, for editors that have no inline completion.

Editors filter such a list by the word before the cursor, and each has its own idea of what a word is. So an
item repeats the word before the cursor (its `textEdit` replaces the word by itself and the text behind it),
and label, filter text and new text all begin with it: whatever part of it the editor compares, it fits.
The buffer is the same afterwards as with ghost text: nothing but the text is added.

    x.hel▮      label `hello()`, filter text `hello()`, `hel` is replaced by `hello()`
    if x:▮      label `⏎ return total`, filter text empty as the word before the cursor is
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lsprotocol import types

from lsp_server.pipeline import Item
from lsp_server.positions import Encoding, to_column

_WORD = re.compile(r"\w+\Z")
_HYPHENATED_WORD = re.compile(r"[\w-]+\Z")
_HYPHENATED = frozenset(
    {
        "clojure",
        "commonlisp",
        "css",
        "elisp",
        "emacs-lisp",
        "less",
        "lisp",
        "racket",
        "sass",
        "scheme",
        "scss",
    }
)


def completion_list(
    items: Sequence[Item], language: str, encoding: Encoding, commands: Sequence[types.Command]
) -> types.CompletionList:
    """The items in their order; incomplete, so that the editor asks again with every key."""
    return types.CompletionList(
        is_incomplete=True,
        items=[
            _completion_item(number, item, language, encoding, command)
            for number, (item, command) in enumerate(zip(items, commands, strict=True))
        ],
    )


def _completion_item(
    number: int, item: Item, language: str, encoding: Encoding, command: types.Command
) -> types.CompletionItem:
    word = word_before(item.line_before, language)
    end = types.Position(item.position.line, item.position.column)
    units = to_column(word.encode(), len(word.encode()), encoding)
    whole = word + item.text
    return types.CompletionItem(
        label=_label(whole),
        kind=types.CompletionItemKind.Text,
        detail="midword",
        documentation=whole if "\n" in item.text else None,
        sort_text=f"{number:04}",
        filter_text=_first_line(whole),
        insert_text_format=types.InsertTextFormat.PlainText,
        insert_text_mode=types.InsertTextMode.AsIs,
        text_edit=types.TextEdit(types.Range(types.Position(end.line, end.character - units), end), whole),
        command=command,
    )


def word_before(line: bytes, language: str) -> str:
    """The word at the end of `line` as editors see it; in Lisps and style sheets words have hyphens."""
    pattern = _HYPHENATED_WORD if language in _HYPHENATED else _WORD
    found = pattern.search(line.decode("utf-8", "ignore"))
    return found[0] if found else ""


def _label(text: str) -> str:
    lines = text.splitlines()
    if len(lines) == 1:
        return text
    rest = next((line.strip() for line in lines[1:] if line.strip()), "")
    return f"{lines[0]} …" if lines[0].strip() else f"⏎ {rest}"


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""
