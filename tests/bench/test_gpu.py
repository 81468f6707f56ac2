"""The GPU bench: without a GPU it gives no number; its parts run on the CPU with a tiny shape."""

from __future__ import annotations

import json
import os

import pytest

from bench import gpu
from tests.engine.models_of_tables import vocabulary

TINY = gpu.Shape(64, 96, 2, 4, 2, 400, True)


def test_without_a_gpu_nothing_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "why_not", lambda: "no GPU")
    gpu.main([])
    out = capsys.readouterr().out
    rows = json.loads(out.splitlines()[-1])
    assert {(row["shape"], row["question"]) for row in rows} == {
        (shape, question) for shape in gpu.SHAPES for question in gpu.QUESTIONS
    }
    assert all(row["value"] is None and row["reason"] == "no GPU" for row in rows)
    assert out.count("not measured") == len(rows)


def test_what_a_decode_must_read_is_the_weights_and_the_cache() -> None:
    """Qwen2.5-7B has 7.6 billion weights, 0.5 billion of them rows of the embedding; a token keeps 57 kB."""
    weights = gpu.read_bytes(gpu.SHAPES["7B"], 0) / 2
    assert weights == pytest.approx(7.07e9, rel=0.01)
    per_token = gpu.read_bytes(gpu.SHAPES["7B"], 1) - 2 * weights
    assert per_token == 2 * 2 * 28 * 4 * 128


def test_all_questions_are_answered_on_a_tiny_shape() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed; `make test-torch` runs this")
    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
    pytest.importorskip("triton", reason="Triton is not installed; `make test-torch` runs this")
    device = gpu.device_of(torch.device("cpu"), copied_bytes=2**20, matrix=64)
    assert device.bytes_per_s > 0 and device.operations_per_s > 0
    found = gpu.measure("tiny", TINY, device, 64, vocabulary().tokenizer)
    assert [figure.question for figure in found] == list(gpu.QUESTIONS)
    for figure in found:
        if figure.question == "vLLM" and figure.value is None:
            assert figure.reason == "vLLM is not installed"
        else:
            assert figure.value is not None and figure.value > 0, figure
    shares = {figure.question: figure.share for figure in found if figure.share is not None}
    assert set(shares) == {"decode of 1", "decode of 8", "decode of 32", "prefill"}
    byte_layer = next(figure for figure in found if figure.question == "byte layer")
    assert byte_layer.value is not None and 0 < byte_layer.value < 100


def test_a_vocabulary_that_is_too_large_is_no_figure() -> None:
    class Small:
        vocab_size = 10

    found = gpu.keystroke_figures("x", Small(), vocabulary().tokenizer)  # type: ignore[arg-type]
    assert [figure.value for figure in found] == [None, None]
