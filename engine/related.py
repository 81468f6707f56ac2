"""Excerpts of other files, and of what stands below, as the model is shown them: comments at the top.

Names that a document uses are often defined, or were used before, in another file that the user has open, and
what is to be written often shows in what stands below it. As comments they fit every model, with sentinels or
without, and stay text: what is decoded behind them is as exact as behind any other prefix. (Copilot shows
excerpts of neighbouring tabs so, too.) What they are worth is measured by `python -m bench.related`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from engine.types import BELOW_BYTES, RELATED_BYTES, Excerpt

_SLASHED = (
    "c cc cjs cpp cs cts cu cxx dart fs go gradle groovy h hh hpp java js json5 jsonc jsx kt kts less mjs mm"
    " mts php proto rs sass scala scss sol swift ts tsx v vue zig"
)
LEADERS: dict[str, str] = {
    **dict.fromkeys(_SLASHED.split(), "// "),
    **dict.fromkeys(["ada", "adb", "ads", "elm", "hs", "lua", "sql", "vhd"], "-- "),
    **dict.fromkeys(["asm", "clj", "el", "ini", "lisp", "rkt", "scm"], "; "),
    **dict.fromkeys(["bib", "erl", "hrl", "sty", "tex"], "% "),
    "vim": '" ',
}
"""How a line of comment starts, by the ending of a file's name; `#` in all others."""


def as_comments(related: Sequence[Excerpt], path: str) -> bytes:
    """The text that is shown before a document of that path: whole excerpts, as far as there is room.

    The first excerpt stands last, next to the document. b"" if there is none. At most RELATED_BYTES are of
    other files, and BELOW_BYTES of what stands below.
    """
    leader = LEADERS.get(PurePosixPath(path).suffix[1:].lower(), "# ").encode()
    shown, room = list[bytes](), {False: RELATED_BYTES, True: BELOW_BYTES}
    for excerpt in related:
        room[excerpt.below] -= len(excerpt.text)
        if room[excerpt.below] < 0:
            break
        lines = [excerpt.path.encode("utf-8", "replace") + b":", *excerpt.text.splitlines()]
        shown.append(b"".join([(leader + line).rstrip() + b"\n" for line in lines]))
    return b"".join([*reversed(shown), b"\n"]) if shown else b""
