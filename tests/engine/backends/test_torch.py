"""What is the torch backend's own; what every backend owes is in `test_contract.py`."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-torch` runs these tests")

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported

import transformers  # noqa: E402

from bench.gguf_to_folder import write_folder  # noqa: E402
from engine.backends.base import StopSignal  # noqa: E402
from engine.backends.llama_cpp import LlamaCppBackend  # noqa: E402
from engine.backends.torch import TorchBackend, log_softmax_on  # noqa: E402
from engine.backends.torch_int8 import quantise_rows  # noqa: E402
from engine.completer import Completer  # noqa: E402
from engine.errors import BackendError, ModelUnsupported  # noqa: E402
from engine.model import open_folder, open_gguf  # noqa: E402
from engine.models.gguf import read_metadata  # noqa: E402
from engine.models.store import resolve  # noqa: E402
from engine.tokenizers.gguf_family import tokenizer_from_metadata  # noqa: E402
from engine.tree import ROOT, TokenTree, tree_of  # noqa: E402
from engine.types import Request  # noqa: E402
from engine.vocab import FloatArray  # noqa: E402
from lsp_server.__main__ import main  # noqa: E402
from tests.engine.backends import torch_folders  # noqa: E402
from tests.engine.backends.tiny_llama import CONTEXT, write_tiny_folder, write_tiny_llama  # noqa: E402
from tests.engine.models_of_tables import CODE  # noqa: E402

SAME_WEIGHTS = 1e-5
"""Largest total variation between llama.cpp and torch on the same F32 weights."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_folder(tmp_path / "tiny")
    return tmp_path / "tiny"


def opened(folder: Path, **options: Any) -> TorchBackend:
    return torch_folders.opened(folder, CONTEXT, **options)


def variation(a: FloatArray, b: FloatArray) -> float:
    return float(np.abs(np.exp(a) - np.exp(b)).sum() / 2)


def row_of(backend: TorchBackend | LlamaCppBackend, path: list[int]) -> FloatArray:
    (row,) = backend.score(path, TokenTree((), ()), [ROOT], StopSignal())
    return row


def test_the_same_weights_give_the_same_rows_as_llama_cpp(folder: Path, tmp_path: Path) -> None:
    write_tiny_llama(tmp_path / "tiny.gguf")
    ours = opened(folder)
    theirs = LlamaCppBackend(tmp_path / "tiny.gguf", context_length=CONTEXT, threads=1)
    assert ours.vocab_size == theirs.vocab_size
    rng = random.Random(1)
    for _ in range(10):
        context = [rng.randrange(ours.vocab_size) for _ in range(rng.randrange(1, 300))]
        tree, ends = tree_of([(1, 2), (1, 3), (4,)])
        pairs = zip(*(b.score(context, tree, ends, StopSignal()) for b in (ours, theirs)), strict=True)
        assert max(variation(a, b) for a, b in pairs) < SAME_WEIGHTS
    theirs.close()


def test_completions_are_those_of_the_gguf(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through tokenizer.json and the command line."""
    write_tiny_llama(tmp_path / "tiny.gguf")
    gguf = Completer(open_gguf(tmp_path / "tiny.gguf", name="tiny", context_length=CONTEXT))
    ours = Completer(open_folder(folder, context_length=CONTEXT))
    shown = 0
    for cut in (0, 10, 33, 61, len(CODE)):
        request = Request(CODE[:cut], CODE[cut:], max_tokens=8, max_lines=5)
        a, b = (completer.complete(request, StopSignal()) for completer in (ours, gguf))
        assert [c.text for c in a.completions] == [c.text for c in b.completions]
        assert [c.logp for c in a.completions] == pytest.approx([c.logp for c in b.completions], abs=1e-3)
        assert a.certificate and b.certificate and a.certificate.contexts == b.certificate.contexts
        shown += len(a.completions)
    assert shown >= 3
    (tmp_path / "code.py").write_bytes(CODE)
    argv = ["complete", str(tmp_path / "code.py"), "--line", "4", "--column", "3", "--max-tokens", "8"]
    printed = []
    for model in (folder, tmp_path / "tiny.gguf"):
        assert main([*argv, "--context", str(CONTEXT), "--model", str(model)]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != ""


def test_running_out_of_memory_is_an_error_with_advice_and_the_engine_lives(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, reference = opened(folder), opened(folder)
    path = [random.Random(2).randrange(backend.vocab_size) for _ in range(300)]
    row_of(backend, path[:20])
    sizes: list[int] = []
    evaluate = backend._logits

    def small_memory(step: Any, stop: StopSignal) -> Any:
        sizes.append(len(step.tokens))
        if len(step.tokens) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return evaluate(step, stop)

    monkeypatch.setattr(backend, "_logits", small_memory)
    for _ in range(2):
        with pytest.raises(BackendError, match=r"not enough memory.*int8.*--context"):
            row_of(backend, path)
    assert variation(row_of(backend, path), row_of(reference, path)) < 1e-5
    assert sizes[:3] == [256, 128, 64], "smaller chunks after each failure"


def test_no_memory_for_the_cache_is_an_error_with_advice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr("engine.backends.torch.StaticKv", refuse)
    with pytest.raises(BackendError, match="the cpu device has not enough memory"):
        opened(folder)


@pytest.mark.parametrize(("weights", "most"), [("bf16", 0.05), ("f16", 0.01), ("int8", 0.05)])
def test_smaller_weights_are_near_the_full_ones(folder: Path, weights: str, most: float) -> None:
    full, small = opened(folder), opened(folder, weights=weights)
    path = [random.Random(3).randrange(full.vocab_size) for _ in range(60)]
    off = variation(row_of(full, path), row_of(small, path))
    assert 0 < off < most


def test_int8_weights_are_off_by_half_a_step_at_most() -> None:
    weight = torch.randn(20, 50, generator=torch.Generator().manual_seed(4))
    rounded, scales = quantise_rows(weight)
    assert rounded.dtype == torch.int8 and int(rounded.abs().max()) == 127
    assert bool(((rounded * scales[:, None] - weight).abs() <= scales[:, None] * 0.5001).all())


SMALL = {
    "vocab_size": 200, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
    "bos_token_id": None, "eos_token_id": 1, "pad_token_id": None, "initializer_range": 0.5,
}  # fmt: skip
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "vocab_size": 200,
       "bos_token_id": 1, "eos_token_id": 1, "initializer_range": 0.3}  # fmt: skip
ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**SMALL),
    "qwen2": lambda: transformers.Qwen2Config(**SMALL),
    "mistral with a window": lambda: transformers.MistralConfig(**SMALL, sliding_window=9),
    "starcoder2": lambda: transformers.Starcoder2Config(**SMALL, sliding_window=11),
    "gemma2, soft caps": lambda: transformers.Gemma2Config(
        **SMALL, sliding_window=9, attn_logit_softcapping=5.0, query_pre_attn_scalar=8
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(**SMALL, sliding_window=9, query_pre_attn_scalar=8),
    "gpt2, learned positions": lambda: transformers.GPT2Config(**GPT),
}


def saved(config: Any, folder: Path) -> Path:
    torch.manual_seed(5)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_equal_their_own_attention(name: str, tmp_path: Path) -> None:
    backend = opened(saved(ARCHITECTURES[name](), tmp_path))
    rng = random.Random(6)
    context = [rng.randrange(200) for _ in range(40)]
    row_of(backend, context[:25])
    tree, ends = tree_of([(1, 2, 3), (1, 2, 4), (5,)])
    for end, row in zip(ends, backend.score(context, tree, ends, StopSignal()), strict=True):
        path = context + [tree.tokens[node] for node in tree.branch(end)]
        plain = torch.log_softmax(backend._model.plain_logits(path).double(), -1).numpy()
        assert variation(row, plain) < 1e-5
    backend.close()


def test_an_attention_that_cannot_be_replaced_is_refused(tmp_path: Path) -> None:
    config = transformers.BloomConfig(vocab_size=200, hidden_size=32, n_layer=2, n_head=4)
    with pytest.raises(ModelUnsupported, match="choose another model, or its GGUF file"):
        opened(saved(config, tmp_path))


def test_layers_without_attention_are_refused(tmp_path: Path) -> None:
    kinds = ["linear_attention", "full_attention", "linear_attention"]
    config = ARCHITECTURES["qwen2"]()
    config.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    write_tiny_folder(tmp_path, model_type="qwen2", num_hidden_layers=3, layer_types=kinds)
    assert text != (tmp_path / "config.json").read_text()
    with pytest.raises(ModelUnsupported, match="layers of the kind linear_attention"):
        opened(tmp_path)


def test_a_model_that_answers_otherwise_in_a_tree_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If siblings saw each other, the check at opening would tell."""

    def everything(self: Any, window: int | None) -> Any:
        return torch.ones(len(self.tokens), self.seen.shape[1], dtype=torch.bool)

    monkeypatch.setattr("engine.backends.torch_attention.Step.visible", everything)
    with pytest.raises(ModelUnsupported, match="cannot score token trees"):
        opened(folder)


def test_on_cuda_rows_come_from_the_fused_kernel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="Triton is not installed; `make test-torch` runs this")
    from engine_kernels import triton_softmax

    plain, fused = opened(folder), opened(folder)
    kernel = log_softmax_on(torch.device("cuda"))
    assert kernel is triton_softmax.log_softmax
    device = "cuda" if torch.cuda.is_available() else "cpu"  # there Triton interprets it
    monkeypatch.setattr(fused, "_log_softmax", lambda logits: kernel(logits.to(device)))
    path = [random.Random(7).randrange(plain.vocab_size) for _ in range(30)]
    assert np.allclose(row_of(plain, path), row_of(fused, path), rtol=0, atol=1e-12)


class Repeater:
    """Records as CUDA does, but runs on the CPU: the work again, into the same tensor."""

    def __init__(self) -> None:
        self.repeats = 0

    def record(self, work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        result = work().clone()

        def replay() -> None:
            self.repeats += 1
            result.copy_(work())

        return replay, result


def test_recorded_steps_are_the_steps(folder: Path) -> None:
    """Padding changes nothing, in any order of shapes, beside steps that are too large to be recorded."""
    plain, recorded, recorder = opened(folder), opened(folder), Repeater()
    recorded._record(recorded._store, recorder)
    rng, shapes = random.Random(8), 2 * 6
    assert len(recorded._logits.__self__._recorded) == shapes, "256 and 512 cells, 1 to 32 tokens"
    context = [rng.randrange(plain.vocab_size) for _ in range(200)]
    for turn in range(30):
        cut = rng.randrange(1, len(context))
        parents = tuple(rng.randrange(-1, k) if k else ROOT for k in range(rng.randrange(1, 30)))
        tree = TokenTree(tuple(rng.randrange(plain.vocab_size) for _ in parents), parents)
        wanted = sorted(rng.sample(range(len(parents)), rng.randrange(1, len(parents) + 1)))
        rows = [b.score(context[:cut], tree, wanted, StopSignal()) for b in (plain, recorded)]
        assert max(variation(a, b) for a, b in zip(*rows, strict=True)) < 1e-5, turn
    assert recorder.repeats > 20


def test_a_gguf_as_a_folder_is_the_same_model(tmp_path: Path) -> None:
    """What benches on torch run."""
    write_tiny_llama(tmp_path / "tiny.gguf")
    write_folder(tmp_path / "tiny.gguf", tmp_path)
    theirs = LlamaCppBackend(tmp_path / "tiny.gguf", context_length=CONTEXT, threads=1)
    path = [random.Random(9).randrange(theirs.vocab_size) for _ in range(100)]
    assert variation(row_of(opened(tmp_path), path), row_of(theirs, path)) < SAME_WEIGHTS
    theirs.close()


@pytest.mark.model
@pytest.mark.long
def test_the_default_model_is_the_same_on_torch(tmp_path: Path) -> None:
    """All its 135 million F32 weights, behind contexts of up to 300 tokens of Python."""
    path = resolve("smollm2-135m:f32").path
    write_folder(path, tmp_path)
    theirs = LlamaCppBackend(path, context_length=CONTEXT, threads=1)
    tokens = tokenizer_from_metadata(read_metadata(path)).encode(Path(random.__file__).read_bytes())
    ours, rng = opened(tmp_path), random.Random(10)
    off = []
    for _ in range(5):
        start, length = rng.randrange(len(tokens) - 300), rng.randrange(1, 300)
        context = list(tokens[start : start + length])
        off.append(variation(row_of(ours, context), row_of(theirs, context)))
    theirs.close()
    print(f"largest total variation {max(off):.1e}")
    assert max(off) < 1e-4


def test_an_unknown_kv_type_is_refused(folder: Path) -> None:
    with pytest.raises(BackendError, match="unknown KV type 'q8_0'; known for torch are auto, f32"):
        opened(folder, kv="q8_0")
