"""Which documents are completed and shown to the model at all. The same answer holds for both.

A document is kept out by the user's switch for its language, by the user's globs, because it holds secrets,
by a `.midwordignore`, because of its size, or because nobody typed it. A glob that starts with `!` lets in
what midword keeps out by itself (secrets, minified, generated): the user knows better. A `.midwordignore`
cannot do that, because it may come with somebody else's project.

What depends on the disk is asked again after `FRESH_S` at most. Nothing here costs more for a longer text.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit

from lsp_server.ignore_files import IgnoreFiles
from lsp_server.patterns import Patterns
from lsp_server.reasons import EXCLUDED, LANGUAGE_OFF, OPTIONS_ERROR, SECRET_FILE, TOO_LARGE, Reason
from lsp_server.secret_files import is_secret
from lsp_server.text_kinds import kind_by_name

LARGEST_FILE_BYTES = 8 * 2**20
FRESH_S = 1.0


class Text(Protocol):
    """What is looked at of a document: its size, and what its start tells (`text_kinds`)."""

    uri: str
    language: str
    size_bytes: int
    kind: Reason | None


class Eligibility:
    """The rules in force. One object a change of settings or folders."""

    def __init__(
        self,
        languages: Mapping[str, bool] | None = None,
        exclude: Sequence[str] | None = (),
        roots: Iterable[PurePosixPath] = (),
    ) -> None:
        """`languages` and `exclude` are checked options; `exclude` None could not be read. `roots` are the
        workspace's folders, absolute."""
        self._languages = languages or {}
        self._roots = tuple(roots)
        self._is_unknown = exclude is None
        self._exclude = Patterns(exclude or ())
        anchored = [glob for glob in exclude or () if glob.removeprefix("!").startswith("/")]
        self._exclude_anywhere = Patterns(anchored)
        self._ignore_files = IgnoreFiles()
        self._by_path: dict[PurePosixPath, _ByPath] = {}

    def of_document(self, text: Text) -> Reason | None:
        """Why an open document is kept out; None if it is not."""
        if self._is_unknown:
            return OPTIONS_ERROR
        if not self._languages.get(text.language, self._languages.get("*", True)):
            return LANGUAGE_OFF
        return self.of_file(path_of(text.uri), text.size_bytes, text.kind)

    def of_file(self, path: PurePosixPath, size_bytes: int, kind: Reason | None) -> Reason | None:
        """Why a file is kept out, whose text is of that size and `kind`; None if it is not."""
        by_path = self._of_path(path)
        if by_path.reason is not None:
            return by_path.reason
        if size_bytes > LARGEST_FILE_BYTES:
            return TOO_LARGE
        return None if by_path.is_let_in else kind

    def _of_path(self, path: PurePosixPath) -> _ByPath:
        known = self._by_path.get(path)
        if known is None or time.monotonic() - known.asked_s >= FRESH_S:
            known = self._by_path[path] = self._ask(path)
        return known

    def _ask(self, path: PurePosixPath) -> _ByPath:
        now = time.monotonic()
        # A link to a secrets file is one, whatever it is called.
        paths = [path, PurePosixPath(os.path.realpath(path))] if path.is_absolute() else [path]
        paths = list(dict.fromkeys(paths))
        globs = [self._by_globs(path) for path in paths]
        if True in globs:
            return _ByPath(EXCLUDED, False, now)
        is_let_in = False in globs
        if not is_let_in and any(map(is_secret, paths)):
            return _ByPath(SECRET_FILE, False, now)
        for absolute in (path for path in paths if path.is_absolute()):
            if reason := self._ignore_files.reason(absolute):
                return _ByPath(reason, False, now)
        return _ByPath(None if is_let_in else kind_by_name(path), is_let_in, now)

    def _by_globs(self, path: PurePosixPath) -> bool | None:
        """Whether the user's globs keep `path` out (True), let it in (False), or say nothing."""
        absolute = path.as_posix().lstrip("/")
        below = [path.relative_to(root).as_posix() for root in self._roots if path.is_relative_to(root)]
        answers = [self._exclude.about_way(name) for name in below or [absolute]]
        answers.append(self._exclude_anywhere.about_way(absolute))
        return next((answer for answer in (True, False) if answer in answers), None)


@dataclass(frozen=True, slots=True)
class _ByPath:
    """What a path tells, and when it was asked."""

    reason: Reason | None
    is_let_in: bool
    asked_s: float


def path_of(uri: str) -> PurePosixPath:
    """The path in a URI; that of an unsaved document is relative.

    Nothing is cut off a `file:` URI at `#` or `?`: clients that do not escape them mean the file's name.
    What no UTF-8 text can hold is replaced.
    """
    uri = uri.encode("utf-8", "replace").decode()
    scheme, _, rest = uri.partition(":")
    if scheme != "file":
        return PurePosixPath(unquote(urlsplit(uri).path))
    path = rest.removeprefix("//")
    return PurePosixPath(unquote(path[max(path.find("/"), 0) :]))
