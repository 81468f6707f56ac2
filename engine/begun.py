"""The start of an engine: weights are read while the rest of it is imported. Nothing here imports numpy."""

from __future__ import annotations

from dataclasses import dataclass

from engine.backends.native_weights import Loading, why_not
from engine.errors import MidwordError
from engine.models.header import Header, read_header
from engine.models.store import ModelFile, find_here


@dataclass(frozen=True, slots=True)
class Begun:
    """A model file whose weights are being read for the native forward pass."""

    file: ModelFile
    header: Header
    loading: Loading


def begin(
    name_or_path: str | None, *, kv: str, backend: str, context_length: int, kv_budget_mb: int
) -> Begun | None:
    """Start reading the weights that `model.load_model` will want with the same arguments.

    None, and nothing is started, if the file is not here, was never opened before, or is for another backend.
    """
    if kv != "auto" or backend == "llama.cpp":
        return None
    try:
        file = find_here(name_or_path)
        header = read_header(file.path, *file.spelling) if file else None
    except MidwordError:  # load_model meets it again, and tells it
        return None
    if file is None or header is None or why_not(header.gguf) is not None:
        return None
    loading = Loading(file.path, header.gguf, context_length=context_length, kv_bytes=kv_budget_mb * 2**20)
    return Begun(file, header, loading)
