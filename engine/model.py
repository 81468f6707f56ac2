"""A model ready to complete: backend, tokenizer, template and stop tokens."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

from engine.backends.base import Backend, alike_of
from engine.backends.native_weights import Loading, why_not
from engine.begun import Begun
from engine.cache import Scorer
from engine.choices import DEFAULT_CONTEXT_TOKENS, DEFAULT_KV_BUDGET_MB, GGUF_BACKENDS
from engine.drafts.drafter import Drafter
from engine.errors import BackendError, ModelCorrupt
from engine.fim import Template
from engine.models.gguf import Gguf, check
from engine.models.header import Header, read_header, write_header
from engine.models.home import tables_dir
from engine.models.progress import Report
from engine.models.store import resolve
from engine.templates import separator_token, stop_tokens, template_from_metadata, with_control_tokens
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.kept import kept_for, kept_tokenizer, vocabulary_digest
from engine.types import Drafts


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
    kv: str = "auto",
    context_length: int = DEFAULT_CONTEXT_TOKENS,
    kv_budget_mb: int = DEFAULT_KV_BUDGET_MB,
    backend: str = "auto",
    progress: Report | None = None,
    begun: Begun | None = None,
) -> Model:
    """Opens a model of the registry or a GGUF file on one of GGUF_BACKENDS, a Hugging Face folder on torch
    (None: the default model). `begun`: what `begin` gave for the same arguments.

    Raises ModelError if it cannot be had or is not exact here, BackendError if the library refuses it.
    """
    if name_or_path is not None and (found := _folder(name_or_path)):
        folder, weights = found
        return open_folder(
            folder, weights=weights, kv=kv, context_length=context_length, kv_budget_mb=kv_budget_mb
        )
    file = begun.file if begun else resolve(name_or_path, progress)
    family, stops = file.spelling
    return open_gguf(
        file.path,
        name=file.name,
        family=family,
        stops=stops,
        kv=kv,
        context_length=context_length,
        kv_budget_mb=kv_budget_mb,
        backend=backend,
        begun=begun,
    )


def _folder(name_or_path: str) -> tuple[Path, str | None] | None:
    from engine.models.hf_folder import find_folder  # GGUF files do without

    return find_folder(name_or_path)


def open_gguf(
    path: Path,
    *,
    name: str,
    family: str | None = None,
    stops: tuple[str, ...] = (),
    kv: str = "auto",
    context_length: int = DEFAULT_CONTEXT_TOKENS,
    kv_budget_mb: int = DEFAULT_KV_BUDGET_MB,
    backend: str = "auto",
    begun: Begun | None = None,
) -> Model:
    """Opens one GGUF file. Raises as `load_model`."""
    header = begun.header if begun else read_header(path, family, stops)
    words = _kept_words(header) if header else None
    gguf = header.gguf if header and words else check(path)
    words = words or _words(path, gguf, family, stops)
    opened = _gguf_backend(path, gguf, backend, kv, context_length, kv_budget_mb * 2**20, begun)
    if opened.vocab_size != len(words.tokenizer.vocab):
        raise ModelCorrupt(
            f"{path} has weights for {opened.vocab_size} tokens, its vocabulary has"
            f" {len(words.tokenizer.vocab)}; fetch it again"
        )
    # A row of the native pass is the same in any batch, so drafts cannot change a text there.
    auto: Drafts = "off" if backend == "llama.cpp" or why_not_native(gguf, kv) else "nearest"
    drafter = Drafter(words.tokenizer.vocab.token_bytes, auto=auto, alike=alike_of(opened))
    return Model(
        name=name,
        tokenizer=words.tokenizer,
        scorer=Scorer(opened, drafter=drafter),
        template=words.template,
        stop_tokens=words.ends,
        separator=words.separator,
    )


@dataclass(frozen=True, slots=True)
class _Words:
    """What is made of a vocabulary."""

    tokenizer: Tokenizer
    template: Template
    ends: tuple[int, ...]
    separator: int


def _kept_words(header: Header) -> _Words | None:
    digest, *others = pickle.loads(header.words)
    tokenizer = kept_for(digest, tables_dir())
    return _Words(tokenizer, *others) if tokenizer else None


def _words(path: Path, gguf: Gguf, family: str | None, stops: tuple[str, ...]) -> _Words:
    template = template_from_metadata(gguf.metadata, family)
    ends = stop_tokens(gguf.metadata, family, stops)
    vocabulary = with_control_tokens(gguf.metadata, template, ends)
    words = _Words(kept_tokenizer(vocabulary, tables_dir()), template, ends, separator_token(gguf.metadata))
    kept = vocabulary_digest(vocabulary), template, ends, words.separator
    write_header(path, family, stops, gguf, pickle.dumps(kept))
    return words


def _gguf_backend(
    path: Path, gguf: Gguf, backend: str, kv: str, context_length: int, kv_bytes: int, begun: Begun | None
) -> Backend:
    if backend not in GGUF_BACKENDS:
        raise BackendError(f"unknown backend {backend!r}; known are {', '.join(GGUF_BACKENDS)}")
    reason = why_not_native(gguf, kv)
    if backend == "native" and reason:
        raise BackendError(f"the native backend cannot evaluate {path.name}: {reason}; leave it to llama.cpp")
    if backend == "llama.cpp" or reason:
        from engine.backends.llama_cpp import LlamaCppBackend

        return LlamaCppBackend(path, context_length=context_length, kv=kv, parking_bytes=kv_bytes)
    from engine.backends.native import NativeBackend

    if begun:
        return NativeBackend(begun.loading)
    return NativeBackend(Loading(path, gguf, context_length=context_length, kv_bytes=kv_bytes))


def why_not_native(gguf: Gguf, kv: str = "auto") -> str | None:
    """Why llama.cpp evaluates this file unless told otherwise; None if the native forward pass does."""
    return why_not(gguf) if kv == "auto" else f"keys and values of type {kv} are asked for"


def open_folder(
    folder: Path,
    *,
    weights: str | None = None,
    kv: str = "auto",
    context_length: int = DEFAULT_CONTEXT_TOKENS,
    kv_budget_mb: int = DEFAULT_KV_BUDGET_MB,
) -> Model:
    """Opens a folder of safetensors on torch (`weights`: see `read_model`). Raises as `load_model`."""
    from engine.models.hf_folder import check_folder, end_texts, folder_metadata

    check_folder(folder)
    metadata = folder_metadata(folder)
    tokenizer = kept_tokenizer(metadata, tables_dir())
    template = template_from_metadata(metadata, None)
    try:
        from engine.backends.torch import TorchBackend, best_device
        from engine.backends.torch_model import read_model
    except ImportError as error:
        raise BackendError(
            f'a folder of safetensors needs torch ({error}); install it with: pip install "midword[torch]"'
        ) from None
    model = read_model(folder, weights, best_device())
    backend = TorchBackend(model, context_length=context_length, kv=kv, parking_bytes=kv_budget_mb * 2**20)
    if backend.vocab_size < len(tokenizer.vocab):
        raise ModelCorrupt(
            f"{folder} has weights for {backend.vocab_size} tokens, its tokenizer.json has"
            f" {len(tokenizer.vocab)}; they are not of one model"
        )
    return Model(
        name=folder.resolve().name,
        tokenizer=tokenizer,
        scorer=Scorer(backend, drafter=Drafter(tokenizer.vocab.token_bytes)),
        template=template,
        stop_tokens=stop_tokens(metadata, None, end_texts(folder, metadata)),
        separator=separator_token(metadata),
    )
