"""Which tokens of a base model become its fill-in-the-middle sentinels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.examples import Sentinels

UNUSED = ("<jupyter_start>", "<jupyter_text>", "<jupyter_code>")
"""Special tokens of SmolLM2 that code never contains and that its training hardly used."""
KEYS = ("fim_pre", "fim_suf", "fim_mid")


def sentinels_of(metadata: Mapping[str, Any]) -> Sentinels:
    """The ids a GGUF names, or else UNUSED. Raises ValueError if it has neither."""
    named = [metadata.get(f"tokenizer.ggml.{key}_token_id") for key in KEYS]
    if None in named:
        ids = {text: token for token, text in enumerate(metadata["tokenizer.ggml.tokens"])}
        if missing := [text for text in UNUSED if text not in ids]:
            raise ValueError(f"the model names no FIM tokens and has no {missing[0]} to make one of")
        named = [ids[text] for text in UNUSED]
    prefix, suffix, middle = (int(token) for token in named if token is not None)
    return Sentinels(prefix, suffix, middle, int(end_token(metadata)))


def end_token(metadata: Mapping[str, Any]) -> int:
    """`<|endoftext|>` if there is one, else the GGUF's end of sequence. Raises ValueError."""
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    if "<|endoftext|>" in tokens:
        return tokens.index("<|endoftext|>")
    end = metadata.get("tokenizer.ggml.eos_token_id")
    if end is None:
        raise ValueError("the model names no token that ends a text")
    return int(end)
