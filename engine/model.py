"""A model ready to complete: backend, tokenizer, template and stop tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.backends.base import Backend
from engine.cache import Scorer
from engine.fim import Template
from engine.models.gguf import read_metadata
from engine.models.home import tables_dir
from engine.models.progress import Report
from engine.models.store import resolve
from engine.templates import separator_token, stop_tokens, template_from_metadata
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.kept import kept_tokenizer

DEFAULT_CONTEXT_TOKENS = 4096
DEFAULT_KV_BUDGET_MB = 64
"""Memory for the keys and values of documents beside the one in the cache."""


@dataclass(frozen=True, slots=True)
class Model:
    """What the engine needs of a model; `name` is what results are labelled with."""

    name: str
    tokenizer: Tokenizer
    scorer: Scorer
    template: Template
    stop_tokens: tuple[int, ...]
    separator: int

    @property
    def backend(self) -> Backend:
        """The backend that scores for this model."""
        return self.scorer.backend


def load_model(
    name_or_path: str | None = None,
    *,
    kv: str = "f32",
    context_length: int = DEFAULT_CONTEXT_TOKENS,
    kv_budget_mb: int = DEFAULT_KV_BUDGET_MB,
    progress: Report | None = None,
) -> Model:
    """Opens a model of the registry or a GGUF file on llama.cpp (None: the default model).

    Raises ModelError if it cannot be had or is not exact here, BackendError if llama.cpp refuses it.
    """
    file = resolve(name_or_path, progress)
    return open_gguf(
        file.path,
        name=file.name,
        family=file.entry.fim if file.entry else None,
        stops=file.entry.stop if file.entry else (),
        kv=kv,
        context_length=context_length,
        kv_budget_mb=kv_budget_mb,
    )


def open_gguf(
    path: Path,
    *,
    name: str,
    family: str | None = None,
    stops: tuple[str, ...] = (),
    kv: str = "f32",
    context_length: int = DEFAULT_CONTEXT_TOKENS,
    kv_budget_mb: int = DEFAULT_KV_BUDGET_MB,
) -> Model:
    """Opens one GGUF file. Raises as `load_model`."""
    from engine.backends.llama_cpp import LlamaCppBackend

    metadata = read_metadata(path)
    tokenizer = kept_tokenizer(metadata, tables_dir())
    template = template_from_metadata(metadata, family)
    backend = LlamaCppBackend(path, context_length=context_length, kv=kv, parking_bytes=kv_budget_mb * 2**20)
    return Model(
        name=name,
        tokenizer=tokenizer,
        scorer=Scorer(backend),
        template=template,
        stop_tokens=stop_tokens(metadata, family, stops),
        separator=separator_token(metadata),
    )
