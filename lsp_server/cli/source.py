"""Files and cursors named on the command line, checked before any model is loaded."""

from __future__ import annotations

import argparse
import re
from pathlib import Path, PurePosixPath

from engine.errors import InputError
from engine.types import Excerpt
from lsp_server.eligibility import LARGEST_FILE_BYTES, Eligibility
from lsp_server.related import excerpt_below, excerpts_from
from lsp_server.text_kinds import kind_by_text
from lsp_server.windows import closed_lines

_LINE_END = re.compile(rb"\r\n|\n|\r")


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises InputError for a missing, unreadable or too large one."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise InputError(f"{path} is a directory, expected a file")
        if size > LARGEST_FILE_BYTES:
            raise InputError(
                f"{path} is {size / 1e6:.1f} MB, at most {LARGEST_FILE_BYTES / 1e6:.1f} MB are read"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


def read_source(path: Path) -> bytes:
    """The content of a text file. Raises InputError as `read_bytes`, and for a binary file."""
    content = read_bytes(path)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text (byte {error.start} is 0x{content[error.start]:02x})"
        ) from None
    if b"\0" in content:
        raise InputError(f"{path} is a binary file (byte {content.index(0)} is 0x00), expected text")
    return content


def add_any_file_option(parser: argparse.ArgumentParser) -> None:
    """--any-file."""
    parser.add_argument(
        "--any-file", action="store_true", help="even a file that the language server keeps out (secrets, …)"
    )


def read_completable(path: Path, *, any_file: bool) -> bytes:
    """The content of a text file that the language server would complete, or of `any_file`.

    Raises InputError as `read_source`, and with the reason for a file that is kept out.
    """
    content = read_source(path)
    kind = kind_by_text(closed_lines(content))
    reason = Eligibility().of_file(PurePosixPath(path.absolute()), len(content), kind)
    if reason is not None and not any_file:
        raise InputError(f"{path}: {reason.sentence} ({reason.name}); --any-file completes it all the same")
    return content


def add_related_option(parser: argparse.ArgumentParser) -> None:
    """--related."""
    parser.add_argument(
        "--related",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a file that is open beside it: the model is shown the lines most like those at the cursor"
        " (several times)",
    )


def shown_excerpts(options: argparse.Namespace, content: bytes, offset: int) -> tuple[Excerpt, ...]:
    """What the server would show of the lines below the cursor at `offset` in `options.file`, and of the
    `--related` files. Raises InputError as `read_completable`."""
    files = [(path.name, read_completable(path, any_file=options.any_file)) for path in options.related]
    return excerpt_below(options.file.name, content[offset:]) + excerpts_from(content[:offset], files)


def cursor_offset(content: bytes, line: int, column: int) -> int:
    """Byte offset of a 1-based line and a 1-based column in characters; one past the end is allowed.

    Lines end at LF, CRLF and CR only. Raises InputError for a cursor outside the text.
    """
    starts = [0, *(match.end() for match in _LINE_END.finditer(content))]
    if not 1 <= line <= len(starts):
        lines = f"{len(starts)} line" + "s" * (len(starts) > 1)
        raise InputError(f"line {line} is outside the file, which has {lines}")
    start = starts[line - 1]
    text = _LINE_END.split(content[start:], maxsplit=1)[0].decode("utf-8")
    if not 1 <= column <= len(text) + 1:
        raise InputError(f"column {column} is outside line {line}, whose columns are 1 to {len(text) + 1}")
    return start + len(text[: column - 1].encode())
