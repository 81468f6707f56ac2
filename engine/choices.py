"""What a model can be opened with. Nothing is imported, so that a command line can say it at once."""

from __future__ import annotations

DEFAULT_CONTEXT_TOKENS = 4096
DEFAULT_KV_BUDGET_MB = 64
"""Memory for keys and values: on the native backend of all documents (or of one that needs more),
on the others of those beside the one in the cache."""
KV_TYPES = ("auto", "f32", "f16", "bf16", "q8_0", "q4_0", "kivi4", "kivi2")
"""What keys and values may be kept as; "auto" is the weights' own type on torch, 16 bits with a scale for
each head on the native backend (which knows no other), else F32.

The q types are llama.cpp's, bf16 and the kivi types torch's. docs/kv_economy.md has what they cost."""
GGUF_BACKENDS = ("auto", "native", "llama.cpp")
"""What evaluates a GGUF; "auto" is the native forward pass where it can (`native_weights.why_not`)."""
