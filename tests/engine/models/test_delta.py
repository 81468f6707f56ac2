"""Deltas, of low rank and full: what they add, what is refused, and models that are a base and a delta."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import ModelCorrupt, ModelNotFound
from engine.models import gguf, store
from engine.models.delta import SCALE_KEY, add_delta
from engine.models.quantize import llama_cpp, quiet, requantize
from tests.engine.backends.tiny_llama import tiny_weights, write_tiny_llama
from tests.engine.gguf_files import gguf_bytes

ALPHA, SCALE, F16, F32 = 6.0, 1024.0, 1, 6
Arrays = dict[str, NDArray[Any]]


def file_of(
    arrays: Arrays, alpha: float | None = ALPHA, more: Mapping[str, tuple[int, Any]] | None = None
) -> bytes:
    """A GGUF of F16 and F32 arrays, an adapter if it has an alpha, and `more` metadata."""
    pairs: dict[str, tuple[int, Any]] = {"general.architecture": (8, "llama"), **(more or {})}
    if alpha is not None:
        pairs |= {
            "general.type": (8, "adapter"),
            "adapter.type": (8, "lora"),
            "adapter.lora.alpha": (F32, alpha),
        }
    return gguf_bytes(pairs, {
        name: (F16 if array.dtype == np.float16 else 0, array.shape[::-1], array.tobytes())
        for name, array in arrays.items()
    })  # fmt: skip


def arrays_of(path: Path) -> Arrays:
    """All arrays of a file of F16 and F32."""
    found, raw = gguf.check(path), path.read_bytes()
    return {
        t.name: np.frombuffer(
            raw[found.weights_start + t.offset_bytes :][: t.size_bytes], {"F16": "<f2", "F32": "<f4"}[t.type]
        ).reshape(t.shape[::-1])
        for t in found.tensors
    }


def half(*shape: int, seed: int = 0) -> NDArray[np.float16]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float16)


def delta_for(name: str, outputs: int, inputs: int, *, rank: int = 3, seed: int = 0) -> Arrays:
    return {
        f"{name}.lora_a": half(rank, inputs, seed=seed),
        f"{name}.lora_b": half(outputs, rank, seed=seed + 1),
    }


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two matrices and a norm."""
    path = tmp_path / "model.gguf"
    arrays: Arrays = {"a.weight": half(8, 32), "b.weight": half(16, 64), "n.weight": np.ones(32, np.float32)}
    path.write_bytes(file_of(arrays, alpha=None))
    return path


def test_each_number_is_the_exact_sum_rounded_once(model: Path, tmp_path: Path) -> None:
    before, parts = arrays_of(model), delta_for("b.weight", 16, 64)
    parts["b.weight.lora_b"][5] = 0
    (tmp_path / "delta.gguf").write_bytes(file_of(parts))
    add_delta(model, tmp_path / "delta.gguf")
    after = arrays_of(model)
    a, b = (parts[f"b.weight.lora_{part}"].astype(np.longdouble) for part in "ab")
    exact = before["b.weight"] + np.longdouble(ALPHA) / 3 * (b @ a)
    assert np.array_equal(after["b.weight"], exact.astype(np.float16))
    assert not np.array_equal(after["b.weight"], before["b.weight"])
    assert after["b.weight"][5].tobytes() == before["b.weight"][5].tobytes()
    for name in ("a.weight", "n.weight"):
        assert after[name].tobytes() == before[name].tobytes()


@pytest.mark.parametrize(
    ("parts", "alpha", "message"),
    [
        (delta_for("a.weight", 8, 32), None, "not a delta: it has no adapter.lora.alpha"),
        ({"a.weight": half(8, 32)}, ALPHA, "or no matrices"),
        (delta_for("c.weight", 8, 32), ALPHA, "does not fit the model it is to be added to: see c.weight"),
        (delta_for("n.weight", 1, 32), ALPHA, "see n.weight"),
        (delta_for("a.weight", 8, 64), ALPHA, "see a.weight"),
        (delta_for("a.weight", 7, 32), ALPHA, "see a.weight"),
        ({"a.weight.lora_a": half(3, 32)}, ALPHA, "see a.weight"),
        ({"a.weight.lora_a": half(3, 32), "a.weight.lora_b": half(8, 4)}, ALPHA, "see a.weight"),
    ],
)
def test_what_does_not_fit_is_refused(
    model: Path, tmp_path: Path, parts: Arrays, alpha: float | None, message: str
) -> None:
    (tmp_path / "delta.gguf").write_bytes(file_of(parts, alpha))
    before = model.read_bytes()
    with pytest.raises(ModelCorrupt, match=message):
        add_delta(model, tmp_path / "delta.gguf")
    assert model.read_bytes() == before


def last_logits(path: Path, tokens: list[int], adapter: Path | None = None) -> NDArray[np.float32]:
    """What llama.cpp says after `tokens`, with an adapter of its own beside the model."""
    api = llama_cpp()
    with quiet(api):
        settings = api.llama_model_default_params()
        settings.n_gpu_layers = 0
        loaded = api.llama_model_load_from_file(str(path).encode(), settings)
        context = api.llama_init_from_model(loaded, api.llama_context_default_params())
        if adapter:
            pointer = api.llama_adapter_lora_init(loaded, str(adapter).encode())
            assert pointer
            pointers, scales = (type(pointer) * 1)(pointer), (api.ctypes.c_float * 1)(1.0)
            assert not api.llama_set_adapters_lora(context, pointers, 1, scales)
        held = (api.llama_token * len(tokens))(*tokens)
        assert not api.llama_decode(context, api.llama_batch_get_one(held, len(tokens)))
        size = api.llama_vocab_n_tokens(api.llama_model_get_vocab(loaded))
        logits = np.ctypeslib.as_array(api.llama_get_logits_ith(context, -1), (size,)).copy()
        api.llama_free(context)
        api.llama_model_free(loaded)
    return logits


def test_llama_cpp_adds_the_same_as_it_runs(tmp_path: Path) -> None:
    whole, base, delta = (tmp_path / f"{name}.gguf" for name in ("whole", "base", "delta"))
    write_tiny_llama(whole)
    requantize(whole, base, "f16")
    parts = Arrays()
    for seed, (name, weights) in enumerate(tiny_weights().items()):
        if name.startswith("blk.") and weights.ndim == 2:
            parts |= delta_for(f"{name}.weight", *weights.shape, seed=seed)
    delta.write_bytes(file_of({name: part * np.float16(0.1) for name, part in parts.items()}))
    tokens = [7, 30, 4, 55, 7]
    plain, expected = last_logits(base, tokens), last_logits(base, tokens, delta)
    assert np.abs(expected - plain).max() > 0.1, "an adapter that does nothing would show nothing"
    add_delta(base, delta)
    assert np.abs(last_logits(base, tokens) - expected).max() < 0.01


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A llama of F16."""
    whole, path = tmp_path / "whole.gguf", tmp_path / "base.gguf"
    write_tiny_llama(whole)
    requantize(whole, path, "f16")
    return path


def changes_for(base: Path) -> Arrays:
    """For each tensor what a training might have added to it, matrices as F16 and times SCALE."""
    rng = np.random.default_rng(5)
    return {
        name: (SCALE * 0.02 * rng.normal(size=array.shape)).astype(array.dtype)
        for name, array in arrays_of(base).items()
    }


def write_full_delta(
    path: Path, base: Path, changes: Arrays, weights: str = "q4_0", scale: tuple[int, Any] = (F32, SCALE)
) -> None:
    """As `training.export` does: the base's metadata of its shape, and no vocabulary."""
    kinds = {int: 4, float: F32}
    pairs: dict[str, tuple[int, Any]] = {
        key: (kinds[type(value)], value)
        for key, value in gguf.read_metadata(base).items()
        if key.startswith("llama.")
    }
    exact = path.with_suffix(".exact")
    exact.write_bytes(file_of(changes, None, {**pairs, SCALE_KEY: scale}))
    requantize(exact, path, weights, pure=True)


@pytest.mark.parametrize(
    ("weights", "bound"), [("f16", 0.0), ("q8_0", 0.6 / 127), ("q5_0", 1.1 / 16), ("q4_0", 1.1 / 8)]
)
def test_a_full_delta_gives_back_what_was_trained(
    base: Path, tmp_path: Path, weights: str, bound: float
) -> None:
    delta, dequantised = tmp_path / "delta.gguf", tmp_path / "dequantised.gguf"
    before, changes = arrays_of(base), changes_for(base)
    write_full_delta(delta, base, changes, weights)
    assert {t.type for t in gguf.check(delta).tensors} == {weights.upper(), "F32"}
    add_delta(base, delta)
    requantize(delta, dequantised, "f16")
    added, after = arrays_of(dequantised), arrays_of(base)
    for name, array in before.items():
        exact = array.astype(np.float32) + added[name].astype(np.float32) / np.float32(SCALE)
        assert after[name].tobytes() == exact.astype(array.dtype).tobytes()
        trained = array.astype(np.float32) + changes[name].astype(np.float32) / np.float32(SCALE)
        assert not np.array_equal(after[name], array)
        if array.ndim == 1:
            assert np.array_equal(after[name], trained)
            continue
        largest = np.abs(changes[name].astype(np.float32).reshape(-1, 32) / SCALE).max(axis=1, keepdims=True)
        error = np.abs(after[name].astype(np.float32) - trained).reshape(-1, 32)
        rounding = np.spacing(np.abs(trained).astype(np.float16)).reshape(-1, 32)
        assert (error <= bound * largest + rounding).all(), name
    assert list(tmp_path.glob("*.part")) == []


def test_small_differences_are_not_lost_in_small_block_scales(base: Path, tmp_path: Path) -> None:
    """A full delta's matrices are scaled: without, a scale of 1e-6 would be off by some percent."""
    delta, name = tmp_path / "delta.gguf", "blk.0.attn_q.weight"
    changes = {key: array * array.dtype.type(1e-3) for key, array in changes_for(base).items()}
    write_full_delta(delta, base, changes, "q8_0")
    with base.open("r+b") as file:  # so that the sum is not rounded to the weights' own steps
        (tensor,) = (t for t in gguf.check(base).tensors if t.name == name)
        file.seek(gguf.check(base).weights_start + tensor.offset_bytes)
        file.write(bytes(tensor.size_bytes))
    add_delta(base, delta)
    wanted = changes[name].astype(np.float32) / SCALE
    error = np.abs(arrays_of(base)[name] - wanted)
    assert error.max() < 0.01 * np.abs(wanted).max()


def without(changes: Arrays) -> Arrays:
    return {name: array for name, array in changes.items() if name != "blk.1.attn_v.weight"}


def turned(changes: Arrays) -> Arrays:
    return changes | {"blk.1.ffn_up.weight": changes["blk.1.ffn_up.weight"].T.copy()}


def with_more(changes: Arrays) -> Arrays:
    return changes | {"blk.1.attn_q.bias": np.ones(64, np.float32)}


@pytest.mark.parametrize(
    ("change", "scale", "message"),
    [
        (without, (F32, SCALE), r"does not fit the model it is to be added to: see blk\.1\.attn_v\.weight"),
        (turned, (F32, SCALE), r"see blk\.1\.ffn_up\.weight"),
        (with_more, (F32, SCALE), r"see blk\.1\.attn_q\.bias"),
        (dict, (F32, 0.0), r"its midword\.delta\.scale is 0\.0, not a positive number"),
        (dict, (8, "many"), "is 'many', not a positive number"),
    ],
)
def test_a_full_delta_of_another_model_is_refused(
    base: Path, tmp_path: Path, change: Callable[[Arrays], Arrays], scale: tuple[int, Any], message: str
) -> None:
    write_full_delta(tmp_path / "delta.gguf", base, change(changes_for(base)), scale=scale)
    before = base.read_bytes()
    with pytest.raises(ModelCorrupt, match=message):
        add_delta(base, tmp_path / "delta.gguf")
    assert base.read_bytes() == before


def test_a_full_delta_is_added_to_exact_weights_only(base: Path, tmp_path: Path) -> None:
    write_full_delta(tmp_path / "delta.gguf", base, changes_for(base))
    requantize(base, tmp_path / "small.gguf", "q8_0")
    with pytest.raises(ModelCorrupt, match=r"of type Q8_0, F16 expected"):
        add_delta(tmp_path / "small.gguf", tmp_path / "delta.gguf")


def test_a_model_of_a_base_and_a_full_delta_in_pieces(
    base: Path, tmp_path: Path, register: Callable[..., None], unfinished: Callable[[], list[str]]
) -> None:
    delta = tmp_path / "delta.gguf"
    write_full_delta(delta, base, changes_for(base))
    whole, pieces = delta.read_bytes(), [tmp_path / f"delta.gguf.{number}" for number in (1, 2)]
    pieces[0].write_bytes(whole[:30_000])
    pieces[1].write_bytes(whole[30_000:])
    register("basis", base.read_bytes(), f"file:{base}", shipped="f16", weights="f16")
    register("taught", whole, [f"file:{piece}" for piece in pieces], base="basis", weights="q8_0")
    found = store.resolve("taught")
    add_delta(base, delta)
    requantize(base, tmp_path / "expected.gguf", "q8_0")
    assert found.path.read_bytes() == (tmp_path / "expected.gguf").read_bytes()
    assert all(verdict.ok for verdict in store.verify("taught"))
    assert unfinished() == []


@pytest.fixture
def taught(tmp_path: Path, register: Callable[..., None], model: Path, fake_requantize: list[str]) -> Path:
    """The source of `taught`, a model that is `basis` and a delta."""
    source, whole = tmp_path / "delta.gguf", model.read_bytes()
    source.write_bytes(file_of(delta_for("a.weight", 8, 32)))
    register("basis", whole, f"file:{model}")
    register("taught", source.read_bytes(), f"file:{source}", base="basis")
    return source


def test_a_model_of_a_base_and_a_delta_is_made_once(
    taught: Path, model: Path, tmp_path: Path, fake_requantize: list[str], unfinished: Callable[[], list[str]]
) -> None:
    with pytest.raises(ModelNotFound, match="midword models pull taught"):
        store.pulled_path("taught")
    found = store.resolve("taught")
    add_delta(model, taught)
    assert found.path.read_bytes() == model.read_bytes()
    assert fake_requantize == ["f16", "f32"]
    assert store.resolve("taught") == found and fake_requantize == ["f16", "f32"]
    assert store.pulled_path("taught") == found.path
    (state,) = (state for state in store.states() if state.entry.name == "taught")
    assert state.pulled == ("f32",)
    assert state.disk_bytes == found.path.stat().st_size + taught.stat().st_size
    assert store.resolve("basis").path != found.path, "the base stays a model of its own"
    assert unfinished() == []


def test_the_delta_is_checked_as_the_registry_pins_it(
    taught: Path, unfinished: Callable[[], list[str]]
) -> None:
    store.pull("taught")
    notes = {
        verdict.path.name.split("-")[-1]: (verdict.ok, verdict.note) for verdict in store.verify("taught")
    }
    assert notes == {
        "f32.gguf": (True, "unchanged since it was made"), "delta.gguf": (True, "checksum as registered")
    }  # fmt: skip
    (kept,) = store.resolve("taught").path.parent.glob("*-delta.gguf")
    whole = kept.read_bytes()
    assert hashlib.sha256(whole).hexdigest() == hashlib.sha256(taught.read_bytes()).hexdigest()
    kept.write_bytes(whole[:-1] + b"?")
    assert [verdict.ok for verdict in store.verify("taught")] == [True, False]
    store.pull("taught")
    assert kept.read_bytes() == whole
    assert store.remove("taught") and not kept.exists()
    taught.write_bytes(whole[:-1] + b"?")
    with pytest.raises(ModelCorrupt, match="taught: sha256 is"):
        store.resolve("taught")
    assert unfinished() == []
