"""Hugging Face's `tokenizer.json`, read as the GGUF metadata that say the same.

What is understood: BPE on bytes behind one of the known pretokenizers, and BPE on characters with byte
fallback (SentencePiece's). Everything else is refused: a setting that is not understood is a tokenizer that
is not exact here.

An NFC normaliser is left out: it would change the user's bytes. Text that is not NFC is encoded as it is.
Added tokens are never parsed out of text if they are special or the vocabulary is of bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unicodedata import category

from engine.errors import ModelCorrupt, ModelUnsupported
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.gguf_family import tokenizer_from_metadata
from engine.vocab import TokenKind

_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _qwen(digits: str) -> str:
    other = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
    return rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}|{other}|{_SPACES}"


def _cased(digits: str, suffix: str = "") -> str:
    lead, other = r"[^\r\n\p{L}\p{N}]?", r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
    words = f"{lead}{_UPPER}*{_LOWER}+{suffix}|{lead}{_UPPER}+{_LOWER}*{suffix}"
    return f"{words}|{digits}|{other}|{_SPACES}"


_BYTE_LEVEL, _GPT2_WORDS, _DIGITS = "ByteLevel", "ByteLevel with words", "single digits"
_MARKS, _NUMBERS = "runs of punctuation", "runs of digits"
_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_PRETOKENIZERS: dict[tuple[str, ...], str] = {
    (_GPT2_WORDS,): "gpt-2",
    (_DIGITS, _GPT2_WORDS): "starcoder",
    (_MARKS, _GPT2_WORDS, _NUMBERS, "[0-9][0-9][0-9]"): "falcon",
    (_qwen(r"\p{N}"), _BYTE_LEVEL): "qwen2",
    (_qwen(r"\p{N}{1,3}"), _BYTE_LEVEL): "llama3",
    (_cased(r"\p{N}"), _BYTE_LEVEL): "tekken",
    (_cased(r"\p{N}{1,3}", f"{_CONTRACTION}?"), _BYTE_LEVEL): "gpt-4o",
    ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, _DIGITS, _BYTE_LEVEL): "deepseek-coder",
    (
        r"\p{N}{1,3}",
        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
        _BYTE_LEVEL,
    ): "deepseek-v3",
}  # fmt: skip
"""Stages as tokenizer.json spells them → the name that GGUF files use."""


def tokenizer_from_json(path: Path) -> Tokenizer:
    """The tokenizer that a `tokenizer.json` describes.

    Raises ModelCorrupt if the file is none, ModelUnsupported if it is not exact here.
    """
    return tokenizer_from_metadata(metadata_from_json(path))


def metadata_from_json(path: Path) -> dict[str, Any]:
    """`tokenizer.ggml.*` as a GGUF of the same model would have them. Raises as `tokenizer_from_json`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        model, vocab = data["model"], data["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelCorrupt(f"{path} is not a tokenizer.json ({type(error).__name__})") from None
    if model.get("type") != "BPE":
        _refuse(f"its model is {model.get('type')!r}, not BPE")
    for setting in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(setting):
            _refuse(f"{setting} is set")
    added = {token["id"]: token for token in data.get("added_tokens", ())}
    tokens = _tokens(vocab, added)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    common = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": merges}
    if model.get("byte_fallback"):
        return common | _characters(data, tokens, added)
    return common | _bytes(data, tokens, added, bool(model.get("ignore_merges")))


def _refuse(reason: str) -> None:
    raise ModelUnsupported(
        f"this tokenizer.json is not supported, so completions would not be exact: {reason}"
    )


def _tokens(vocab: Mapping[str, int], added: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Token texts by id; ids that nothing names are padding, which no text reaches."""
    by_id = {number: text for text, number in vocab.items()}
    by_id |= {number: token["content"] for number, token in added.items()}
    return [by_id.get(number, f"[PAD{number}]") for number in range(max(by_id) + 1)]


# -- bytes ----------------------------------------------------------------------------------------


def _bytes(
    data: Mapping[str, Any], tokens: Sequence[str], added: Mapping[int, Any], ignore_merges: bool
) -> dict[str, Any]:
    normalizer = data.get("normalizer")
    if normalizer is not None and normalizer.get("type") != "NFC":
        _refuse(f"its normalizer is {normalizer.get('type')!r}")
    stages = tuple(_stage(part) for part in _sequence(data.get("pre_tokenizer"), "pretokenizers"))
    if stages not in _PRETOKENIZERS:
        _refuse(f"its pretokenizer is not known: {' then '.join(stages) or 'none'}")
    known = set(data["model"]["vocab"].values()) - added.keys()
    if _NUMBERS in stages and (mixed := next(filter(_mixes_numbers, (tokens[t] for t in known)), None)):
        _refuse(f"its token {mixed!r} joins digits with other characters, which its pretokenizer separates")
    kinds = [TokenKind.NORMAL if number in known else TokenKind.CONTROL for number in range(len(tokens))]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": _PRETOKENIZERS[stages],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.ignore_merges": ignore_merges,
    }


def _mixes_numbers(token: str) -> bool:
    """Whether a token joins numeric with other characters, both as the byte alphabet spells them.

    Falcon separates those after its bytes are spelled, so that a part of a letter may count as a digit. Where
    no token mixes them no merge crosses such a place, and separating there changes nothing.
    """
    return len({category(char).startswith("N") for char in token}) > 1


def _sequence(part: Mapping[str, Any] | None, name: str) -> list[Mapping[str, Any]]:
    if part is None:
        return []
    return list(part[name]) if part["type"] == "Sequence" else [part]


def _stage(part: Mapping[str, Any]) -> str:
    """One stage by its expression, or by its name."""
    kind = part["type"]
    if kind == "Split" and part["behavior"] == "Isolated" and not part.get("invert"):
        return str(part["pattern"].get("Regex", part["pattern"]))
    if kind == "Digits":
        return _DIGITS if part["individual_digits"] else _NUMBERS
    if kind == "Punctuation" and part["behavior"] == "Contiguous":
        return _MARKS
    if kind == "ByteLevel" and not part.get("add_prefix_space"):
        return _GPT2_WORDS if part.get("use_regex", True) else _BYTE_LEVEL
    return f"{kind} with other settings"


# -- characters -----------------------------------------------------------------------------------


def _characters(data: Mapping[str, Any], tokens: Sequence[str], added: Mapping[int, Any]) -> dict[str, Any]:
    for token in added.values():
        if not token["special"] and (token["lstrip"] or token["rstrip"] or token["single_word"]):
            _refuse(f"its added token {token['content']!r} takes in white space around it")
    kinds = []
    for number, text in enumerate(tokens):
        if number in added:
            kinds.append(TokenKind.CONTROL if added[number]["special"] else TokenKind.USER_DEFINED)
        elif len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            kinds.append(TokenKind.BYTE)
        else:
            kinds.append(TokenKind.NORMAL if text in data["model"]["vocab"] else TokenKind.UNUSED)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.scores": [0.0] * len(tokens),
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.add_space_prefix": _has_dummy_space(data),
    }


def _has_dummy_space(data: Mapping[str, Any]) -> bool:
    """Whether a ▁ is put before a text; refuses what does more than that and write spaces as ▁."""
    dummy = False
    for part in _sequence(data.get("normalizer"), "normalizers"):
        if part == {"type": "Prepend", "prepend": "▁"}:
            dummy = True
        elif part != {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}:
            _refuse(f"its normalizer is {part['type']!r}")
    for part in _sequence(data.get("pre_tokenizer"), "pretokenizers"):
        if part["type"] != "Metaspace" or part.get("split"):
            _refuse(f"its pretokenizer is {part['type']!r}")
        dummy = part.get("prepend_scheme", "always") != "never"
    return dummy
