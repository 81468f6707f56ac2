"""How each model family spells its fill-in-the-middle sentinels and its end of middle.

A GGUF names its own sentinels (`tokenizer.ggml.fim_pre_token_id`, …); those are read first, this table
second. Sentinels enter a prompt as token ids, never as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import ModelUnsupported
from engine.fim import Order, Template
from engine.tree import TokenPath
from engine.vocab import TokenKind


@dataclass(frozen=True, slots=True)
class Spelling:
    """A family's sentinels as vocabulary texts."""

    order: Order
    prefix: str = ""
    suffix: str = ""
    middle: str = ""
    start: str = ""
    suffix_first: bool = False
    stops: tuple[str, ...] = ()


_QWEN = ("<|endoftext|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
         "<|repo_name|>", "<|file_sep|>")  # fmt: skip
_SMOLLM2 = ("<jupyter_start>", "<jupyter_text>", "<jupyter_code>")  # as training/sentinels.py teaches them
SPELLINGS: dict[str, Spelling] = {
    "none": Spelling("none"),
    "starcoder": Spelling("psm", "<fim_prefix>", "<fim_suffix>", "<fim_middle>",
                          stops=("<|endoftext|>", "<file_sep>", "<fim_pad>")),
    "starcoder-spm": Spelling("spm", "", "<fim_suffix>", "<fim_middle>", start="<fim_prefix>",
                              stops=("<|endoftext|>", "<file_sep>", "<fim_pad>")),
    "santacoder": Spelling("psm", "<fim-prefix>", "<fim-suffix>", "<fim-middle>", stops=("<|endoftext|>",)),
    "codellama": Spelling("psm", "▁<PRE>", "▁<SUF>", "▁<MID>", stops=("▁<EOT>",)),
    "deepseek": Spelling("psm", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>",
                         stops=("<｜end▁of▁sentence｜>",)),
    "qwen": Spelling("psm", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", stops=_QWEN),
    "codegemma": Spelling("psm", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>",
                          stops=("<|file_separator|>", "<eos>")),
    "codestral": Spelling("spm", "[PREFIX]", "[SUFFIX]", stops=("</s>", "[PREFIX]", "[SUFFIX]")),
    "granite": Spelling("psm", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>",
                        stops=("<|end_of_text|>", "<|endoftext|>")),
    "mellum": Spelling("psm", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", suffix_first=True,
                       stops=("<|endoftext|>", "<filename>")),
    "seed-coder": Spelling("psm", "<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>", suffix_first=True,
                           stops=("<[end▁of▁sentence]>",)),
    "smollm2": Spelling("psm", *_SMOLLM2, stops=("<|endoftext|>", "<|im_end|>", *_SMOLLM2)),
    "smollm2-spm": Spelling("spm", "", *_SMOLLM2[1:], start=_SMOLLM2[0],
                            stops=("<|endoftext|>", "<|im_end|>", *_SMOLLM2)),
    "falcon-h1": Spelling("psm", "<|prefix|>", "<|suffix|>", "<|middle|>", stops=("<|endoftext|>",)),
}  # fmt: skip

_GGUF_STOPS = ("eos_token_id", "eot_token_id", "eom_token_id", "fim_pre_token_id", "fim_suf_token_id",
               "fim_mid_token_id", "fim_pad_token_id", "fim_rep_token_id", "fim_sep_token_id")  # fmt: skip


def template_from_metadata(metadata: Mapping[str, Any], family: str | None) -> Template:
    """The template of a model, from its GGUF metadata or else its `family` in SPELLINGS (None: unknown).

    A model with neither has no FIM: order "none". Raises ModelUnsupported for an unknown family, or one
    whose sentinels the vocabulary lacks.
    """
    if family is not None and family not in SPELLINGS:
        raise ModelUnsupported(f"unknown FIM template {family!r}; known are {', '.join(SPELLINGS)}")
    parts = [metadata.get(f"tokenizer.ggml.fim_{part}_token_id") for part in ("pre", "suf", "mid")]
    named: list[TokenPath] = [(int(part),) for part in parts if part is not None]
    order: Order = "psm" if len(named) == 3 else "none"
    spelling = SPELLINGS[family] if family else Spelling(order)
    ids = _Ids(metadata["tokenizer.ggml.tokens"])
    if len(named) == 3 and spelling.order == "psm":
        prefix, suffix, middle = named
    else:
        prefix, suffix, middle = map(ids.one, (spelling.prefix, spelling.suffix, spelling.middle))
    start = _bos(metadata) + ids.one(spelling.start)
    return Template(spelling.order, start, prefix, suffix, middle, spelling.suffix_first)


def stop_tokens(
    metadata: Mapping[str, Any], family: str | None, names: Sequence[str] = ()
) -> tuple[int, ...]:
    """Ids of the tokens that end a middle: the GGUF's, the family's and `names`, as far as they exist."""
    ids = _Ids(metadata["tokenizer.ggml.tokens"])
    texts = {*names, *(SPELLINGS[family].stops if family in SPELLINGS else ()), "<|endoftext|>"}
    found = {token for text in texts for token in ids.some(text)}
    for key in _GGUF_STOPS:
        if (token := metadata.get(f"tokenizer.ggml.{key}")) is not None:
            found.add(int(token))
    return tuple(sorted(found))


def with_control_tokens(
    metadata: Mapping[str, Any], template: Template, stops: Sequence[int]
) -> dict[str, Any]:
    """`metadata` in which sentinels and stops that were added to the vocabulary are control tokens.

    Some files call them text; then text that spells one would be parsed as one.
    """
    kinds = [int(kind) for kind in metadata["tokenizer.ggml.token_type"]]
    for token in (*template.start, *template.prefix, *template.suffix, *template.middle, *stops):
        if kinds[token] == TokenKind.USER_DEFINED:
            kinds[token] = TokenKind.CONTROL
    return {**metadata, "tokenizer.ggml.token_type": kinds}


def separator_token(metadata: Mapping[str, Any]) -> int:
    """The token that stands before a text with nothing before it: BOS if used, else end of text."""
    if bos := _bos(metadata):
        return bos[0]
    ids = _Ids(metadata["tokenizer.ggml.tokens"])
    for token in (*ids.some("<|endoftext|>"), metadata.get("tokenizer.ggml.eos_token_id")):
        if token is not None:
            return int(token)
    return 0


def _bos(metadata: Mapping[str, Any]) -> TokenPath:
    bos = metadata.get("tokenizer.ggml.bos_token_id")
    return (int(bos),) if bos is not None and metadata.get("tokenizer.ggml.add_bos_token") else ()


class _Ids:
    """Vocabulary text → token id."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens

    def some(self, text: str) -> TokenPath:
        return (self._tokens.index(text),) if text and text in self._tokens else ()

    def one(self, text: str) -> TokenPath:
        if text and not self.some(text):
            raise ModelUnsupported(
                f"the model's vocabulary has no token {text!r}, which its FIM template needs"
            )
        return self.some(text)
