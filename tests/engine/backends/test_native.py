"""Which files the native forward pass takes, and how near it is to llama.cpp on one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from engine.backends.base import StopSignal
from engine.backends.llama_cpp import LlamaCppBackend
from engine.backends.native import NativeBackend
from engine.backends.native_weights import ARCHITECTURES, NOT_BUILT, Loading, why_not
from engine.errors import BackendError, ModelCorrupt
from engine.model import open_gguf
from engine.models.gguf import Gguf, check
from engine.models.store import resolve
from engine.tree import ROOT, TokenTree
from engine.vocab import FloatArray
from tests.engine.backends.tiny_llama import CONTEXT, write_tiny_llama


@pytest.fixture(scope="module", params=ARCHITECTURES)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny-q8_0.gguf"
    write_tiny_llama(path, eight_bits=True, architecture=request.param)
    if why_not(check(path)) == NOT_BUILT:
        pytest.skip("no compiler, or no AVX2")
    return path


def row(backend: NativeBackend | LlamaCppBackend, tokens: list[int]) -> FloatArray:
    (found,) = backend.score(tokens, TokenTree((), ()), [ROOT], StopSignal())
    return found


def with_metadata(gguf: Gguf, **others: object) -> Gguf:
    named = {key.replace("__", "."): value for key, value in others.items()}
    return dataclasses.replace(gguf, metadata=gguf.metadata | named)


def test_it_takes_what_it_can_and_says_why_not(path: Path, tmp_path: Path) -> None:
    gguf = check(path)
    assert why_not(gguf) is None
    write_tiny_llama(tmp_path / "f32.gguf")
    architecture = gguf.metadata["general.architecture"]
    for other, part in (
        (check(tmp_path / "f32.gguf"), "weights of type F32"),
        (with_metadata(gguf, general__architecture="gemma3"), "the architecture is gemma3"),
        (with_metadata(gguf, **{f"{architecture}__rope__dimension_count": 16}), "a part of a head"),
        (with_metadata(gguf, **{f"{architecture}__rope__scaling__type": "linear"}), "positions are scaled"),
        (with_metadata(gguf, **{f"{architecture}__embedding_length": 72}), "multiples of 32"),
        (with_metadata(gguf, **{f"{architecture}__feed_forward_length": [64, 128]}), "one number each"),
    ):
        assert part in (why_not(other) or "")
    for name in ("blk.0.attn_q_norm.weight", "blk.0.attn_output.bias"):
        extra = dataclasses.replace(gguf.tensors[0], name=name, type="F32", shape=(32,))
        assert name in (why_not(dataclasses.replace(gguf, tensors=(*gguf.tensors, extra))) or "")


def test_the_native_one_is_the_default_and_the_other_can_be_asked_for(path: Path, tmp_path: Path) -> None:
    for asked, kind in (("auto", NativeBackend), ("native", NativeBackend), ("llama.cpp", LlamaCppBackend)):
        opened = open_gguf(path, name="tiny", context_length=CONTEXT, backend=asked).backend
        assert isinstance(opened, kind)
        opened.close()
    opened = open_gguf(path, name="tiny", context_length=CONTEXT).backend
    assert isinstance(opened, NativeBackend)
    opened.close()
    for kv in ("f32", "f16"):
        opened = open_gguf(path, name="tiny", context_length=CONTEXT, kv=kv).backend
        assert isinstance(opened, LlamaCppBackend)
        opened.close()
    write_tiny_llama(tmp_path / "f32.gguf")
    with pytest.raises(BackendError, match=r"cannot evaluate f32\.gguf: there are weights of type F32"):
        open_gguf(tmp_path / "f32.gguf", name="tiny", context_length=CONTEXT, backend="native")


def test_a_file_without_a_tensor_is_damaged(path: Path) -> None:
    gguf = check(path)
    for name in ("ffn_up", *ARCHITECTURES[gguf.metadata["general.architecture"]].biases):
        tensors = tuple(tensor for tensor in gguf.tensors if name not in tensor.name)
        with pytest.raises(ModelCorrupt, match=f"has no {name}"):
            NativeBackend(Loading(path, dataclasses.replace(gguf, tensors=tensors), context_length=CONTEXT))


def test_it_agrees_with_llama_cpp_up_to_its_rounding(path: Path) -> None:
    """llama.cpp rounds the inputs of its products to eight bits, this one to sixteen."""
    native = NativeBackend(Loading(path, check(path), context_length=CONTEXT))
    other = LlamaCppBackend(path, context_length=CONTEXT, threads=1)
    tokens = np.random.default_rng(0).integers(0, native.vocab_size, 60).tolist()
    for end in range(1, 60, 7):
        ours, theirs = row(native, tokens[:end]), row(other, tokens[:end])
        assert np.abs(np.exp(ours) - np.exp(theirs)).sum() / 2 < 0.05


@pytest.mark.model
@pytest.mark.parametrize("name", [None, pytest.param("qwen2.5-coder-0.5b-it", marks=pytest.mark.long)])
def test_it_agrees_with_llama_cpp_on_a_real_model(name: str | None) -> None:
    file = resolve(name).path
    gguf = check(file)
    if (reason := why_not(gguf)) is not None:
        pytest.skip(reason)
    native = NativeBackend(Loading(file, gguf, context_length=CONTEXT))
    other = LlamaCppBackend(file, context_length=CONTEXT)
    tokens = np.random.default_rng(0).integers(1000, 40_000, 200).tolist()
    for end in range(20, 200, 30):
        ours, theirs = row(native, tokens[:end]), row(other, tokens[:end])
        assert float((np.exp(ours) * (ours - theirs)).sum()) < 0.05
