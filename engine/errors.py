"""Every error a user can cause or cure. `str(error)` is one plain sentence.

    MidwordError
    ├── InputError              a file, cursor, option or message that cannot be used
    ├── ModelError
    │   ├── ModelNotFound       no such name in the registry, no such path
    │   ├── ModelCorrupt        truncated, wrong type, checksum differs
    │   ├── ModelUnsupported    the family or the law is not exact here, so it is refused
    │   └── DownloadError       the source did not deliver the file
    ├── BackendError            llama.cpp or torch refused: missing library, memory, context
    ├── ProtocolError           the peer process does not speak our protocol
    ├── EngineDied              the engine process ended while it owed an answer
    └── Cancelled               the caller withdrew the request, or a newer one superseded it

Programmer errors (broken invariants) are ordinary ValueError / AssertionError and are not caught.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.types import Usage


class MidwordError(Exception):
    """Base of all errors that are reported to the user as one sentence."""

    @property
    def code(self) -> str:
        """Stable name of the error on the wire."""
        return type(self).__name__


class InputError(MidwordError):
    """A file, cursor, option or message that cannot be used."""


class ModelError(MidwordError):
    """Something about the model file."""


class ModelNotFound(ModelError):
    """No such name in the registry, no such path."""


class ModelCorrupt(ModelError):
    """Truncated, wrong type, or the checksum differs."""


class ModelUnsupported(ModelError):
    """The tokenizer family or the law is not exact here, so it is refused."""


class DownloadError(ModelError):
    """The source did not deliver the file."""


class BackendError(MidwordError):
    """llama.cpp or torch refused: missing library, memory, context length."""


class ProtocolError(MidwordError):
    """The peer process does not speak our protocol."""


class EngineDied(MidwordError):
    """The engine process ended while it owed an answer."""


class Cancelled(MidwordError):
    """The caller withdrew the request, or a newer one superseded it."""

    usage: Usage | None = None
    """What had been spent on it, if anything was done."""


_BY_CODE: dict[str, type[MidwordError]] = {
    cls.__name__: cls
    for cls in (
        InputError, ModelNotFound, ModelCorrupt, ModelUnsupported, DownloadError,
        BackendError, ProtocolError, EngineDied, Cancelled,
    )
}  # fmt: skip


def from_code(code: str, message: str) -> MidwordError:
    """The error named `code` on the wire (see `MidwordError.code`), MidwordError if unknown."""
    return _BY_CODE.get(code, MidwordError)(message)
