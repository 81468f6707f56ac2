"""llama.cpp's tokenizer, an oracle that shares no code with ours."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from engine.backends.llama_cpp import import_llama_cpp


class LlamaTokenizer:
    """llama.cpp's own tokenizer of a model file, special tokens not parsed."""

    def __init__(self, path: Path) -> None:
        self.lib = import_llama_cpp()
        params = self.lib.llama_model_default_params()
        params.vocab_only = True
        self.model: Any = self.lib.llama_model_load_from_file(str(path).encode(), params)
        self.vocab = self.lib.llama_model_get_vocab(self.model)

    def encode(self, text: bytes) -> tuple[int, ...]:
        """`text` is valid UTF-8."""
        tokens = (ctypes.c_int32 * (len(text) + 8))()
        count = self.lib.llama_tokenize(self.vocab, text, len(text), tokens, len(tokens), False, False)
        assert count >= 0
        return tuple(tokens[:count])

    def close(self) -> None:
        self.lib.llama_model_free(self.model)
