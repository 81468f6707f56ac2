"""Texts that nobody types: minified, generated, and private keys. A look at the start of the text tells.

The look is bounded (`LOOKED_BYTES`), whatever the size of the text or of its lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from lsp_server.reasons import Reason

LOOKED_BYTES = 64 * 1024
HEADER_BYTES = 4096
LONG_LINE_BYTES = 1000
LEAST_MINIFIED_BYTES = 2000
MOST_BLANK_SHARE = 0.12
"""Of a minified text's bytes. Prose in long lines has about 0.16, code in lines 0.2 to 0.4."""

MINIFIED = Reason("minified", "the text is minified")
GENERATED = Reason("generated", "the file is generated, not written")
PRIVATE_KEY = Reason("secret-file", "the text is a private key")

_MINIFIED_NAMES = ("*.min.js", "*.min.css", "*.min.mjs", "*-min.js", "*-min.css", "*.js.map", "*.css.map")
_GENERATED_NAMES = (
    "package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "packages.lock.json", "go.sum", "*.lock",
    "*.lockb", "*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*.pb.go", "*.pb.cc", "*.pb.h", "*.g.dart", "*.g.cs",
    "*.freezed.dart", "*.designer.cs", "*.generated.*",
)  # fmt: skip
_COMMENT = re.compile(rb"^\s*(?://|#|/\*|\*|--|;|<!--|%|\"\"\"|''')(.*)$", re.MULTILINE)
_MARK = re.compile(
    rb"@generated\b|<auto-?generated"
    rb"|\b(?:auto-?|automatically )?generated\b.{0,200}\bdo not (?:edit|modify|change)\b"
    rb"|\bdo not (?:edit|modify|change)\b.{0,200}\bgenerated\b"
    rb"|\bthis (?:file|code|module) (?:is|was|has been) (?:auto-?|automatically |machine )generated\b",
    re.IGNORECASE,
)
_KEY = re.compile(rb"\s*-----BEGIN [A-Z ]*PRIVATE KEY")


def kind_by_name(path: PurePosixPath) -> Reason | None:
    """Why a file of this name is not completed; None if the name tells nothing."""
    name = path.name.lower()
    if any(fnmatchcase(name, pattern) for pattern in _MINIFIED_NAMES):
        return MINIFIED
    return GENERATED if any(fnmatchcase(name, pattern) for pattern in _GENERATED_NAMES) else None


def kind_by_text(lines: Iterable[bytes]) -> Reason | None:
    """Why a text (by lines, with their ends) is not completed; None if its start tells nothing."""
    head = _head(lines)
    header = head[:HEADER_BYTES]
    if _KEY.match(header):
        return PRIVATE_KEY
    # A mark counts in a comment only, and may go on in the next one.
    if _MARK.search(b" ".join(comment.strip() for comment in _COMMENT.findall(header))):
        return GENERATED
    return MINIFIED if _is_minified(head) else None


def _head(lines: Iterable[bytes]) -> bytes:
    parts: list[bytes] = []
    room = LOOKED_BYTES
    for line in lines:
        parts.append(line[:room])
        room -= len(parts[-1])
        if room <= 0:
            break
    return b"".join(parts)


def _is_minified(head: bytes) -> bool:
    if len(head) < LEAST_MINIFIED_BYTES:
        return False
    in_long_lines = sum(len(line) for line in head.splitlines() if len(line) > LONG_LINE_BYTES)
    blank = head.count(b" ") + head.count(b"\t")
    return 2 * in_long_lines >= len(head) and blank < MOST_BLANK_SHARE * len(head)
