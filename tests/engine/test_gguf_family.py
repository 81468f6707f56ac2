"""Families that are not exact here are refused, in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import ModelUnsupported
from engine.tokenizers.gguf_family import tokenizer_from_metadata


def metadata(family: str, pretokenizer: str) -> dict[str, Any]:
    return {
        "tokenizer.ggml.model": family,
        "tokenizer.ggml.pre": pretokenizer,
        "tokenizer.ggml.tokens": ["a", "b", "ab"],
        "tokenizer.ggml.token_type": [1, 1, 1],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.scores": [0.0, -1.0, -2.0],
    }


@pytest.mark.parametrize("family", ["bert", "t5", "rwkv", "plamo2", "no_vocab", ""])
def test_other_models_of_tokenizers(family: str) -> None:
    with pytest.raises(
        ModelUnsupported, match=r"is not supported, so its completions would not be exact; [^.]*$"
    ):
        tokenizer_from_metadata(metadata(family, "gpt-2"))


@pytest.mark.parametrize("name", ["bloom", "poro-chat", "viking", "gpt3-finnish", "superbpe", "default", "x"])
def test_other_pretokenizers(name: str) -> None:
    with pytest.raises(ModelUnsupported) as raised:
        tokenizer_from_metadata(metadata("gpt2", name))
    assert repr(name) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["command-r", "falcon", "tekken", "deepseek-v3", "llama-bpe", "qwen2"])
def test_these_are_exact(name: str) -> None:
    assert tokenizer_from_metadata(metadata("gpt2", name)).encode(b"ab") == (2,)
