"""From GGUF metadata to a tokenizer: which family it is, and whether that family is exact here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.errors import ModelCorrupt, ModelUnsupported
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.byte_level import ByteLevelBPE
from engine.tokenizers.expressions import IGNORE_MERGES
from engine.tokenizers.pairs import Merge
from engine.tokenizers.pretokenize import pretokenizer_for
from engine.tokenizers.sentencepiece import SentencePieceBPE
from engine.vocab import TokenKind, Vocab


def _gpt2_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in character → byte value (openai/gpt-2, encoder.py)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


_ALPHABET = _gpt2_alphabet()


def tokenizer_from_metadata(metadata: dict[str, Any]) -> Tokenizer:
    """The canonical tokenizer that GGUF metadata describe.

    Raises ModelUnsupported for a family that is not exact here, ModelCorrupt for missing metadata.
    """
    family = metadata.get("tokenizer.ggml.model")
    if family is None or "tokenizer.ggml.tokens" not in metadata:
        raise ModelCorrupt("the model file has no vocabulary; pull or export the model again")
    if family not in _FAMILIES:
        raise ModelUnsupported(
            f"the tokenizer family {family!r} is not supported, so its completions would not be exact;"
            f" supported are {', '.join(_FAMILIES)}"
        )
    return _FAMILIES[family](metadata)


def _byte_level(metadata: dict[str, Any]) -> ByteLevelBPE:
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    spelled, kinds = _byte_level_spelling(tokens, _kinds(metadata))
    added = "".join(tokens[t] for t, kind in enumerate(kinds) if kind == TokenKind.USER_DEFINED)
    ids = {text: t for t, text in enumerate(tokens) if kinds[t] != TokenKind.USER_DEFINED}
    name = str(metadata.get("tokenizer.ggml.pre", "default"))
    merges = _read_merges(metadata["tokenizer.ggml.merges"], ids)
    ignore_merges = bool(metadata.get("tokenizer.ggml.ignore_merges", name in IGNORE_MERGES))
    pretokenizer = pretokenizer_for(name, added)
    return ByteLevelBPE(Vocab(spelled, kinds), merges, pretokenizer, ignore_merges=ignore_merges)


def _sentencepiece(metadata: dict[str, Any]) -> SentencePieceBPE:
    kinds = _kinds(metadata)
    spelled = [
        _sentencepiece_spelling(text, kind)
        for text, kind in zip(metadata["tokenizer.ggml.tokens"], kinds, strict=True)
    ]
    dummy = b" " if metadata.get("tokenizer.ggml.add_space_prefix", True) else b""
    scores, merges = metadata["tokenizer.ggml.scores"], metadata.get("tokenizer.ggml.merges")
    ids = {text: token for token, text in enumerate(metadata["tokenizer.ggml.tokens"])}
    listed = None if merges is None else _read_merges(merges, ids)
    return SentencePieceBPE(Vocab(spelled, kinds), scores, text_start=dummy, merges=listed)


_FAMILIES: dict[str, Callable[[dict[str, Any]], Tokenizer]] = {
    "gpt2": _byte_level, "llama": _sentencepiece, "gemma4": _sentencepiece,
}  # fmt: skip


def _kinds(metadata: dict[str, Any]) -> list[int]:
    return [int(kind) for kind in metadata["tokenizer.ggml.token_type"]]


def _sentencepiece_spelling(text: str, kind: int) -> bytes:
    """κ of one token: ▁ is a space, `<0x0A>` a byte, control tokens have none."""
    if kind == TokenKind.BYTE:
        return bytes([int(text[3:5], 16)])
    if kind == TokenKind.NORMAL:
        return text.replace("\u2581", " ").encode("utf-8", "surrogateescape")
    return text.encode("utf-8", "surrogateescape") if kind == TokenKind.USER_DEFINED else b""


def _byte_level_spelling(tokens: list[str], kinds: list[int]) -> tuple[list[bytes], list[int]]:
    """κ and kind of each token; control tokens, and tokens outside the alphabet, have no bytes.

    Of added tokens only single characters are text; longer ones are markup, which is not parsed out of text.
    """
    spelled: list[bytes] = []
    kinds = list(kinds)
    for token, kind in enumerate(kinds):
        text = tokens[token]
        if kind == TokenKind.USER_DEFINED and len(text) == 1:
            spelled.append(text.encode("utf-8", "surrogateescape"))
        elif kind == TokenKind.NORMAL and _ALPHABET.keys() >= set(text):
            spelled.append(bytes([_ALPHABET[c] for c in text]))
        else:
            spelled.append(b"")
            kinds[token] = TokenKind.UNUSED if kind == TokenKind.NORMAL else TokenKind.CONTROL
    return spelled, kinds


def _read_merges(merges: list[str], ids: dict[str, int]) -> list[Merge]:
    """(left, right, merged) ids of each merge. Raises ModelCorrupt if a part is not a token."""
    found: list[Merge] = []
    for merge in merges:
        left, _, right = merge.partition(" ")
        try:
            found.append((ids[left], ids[right], ids[left + right]))
        except KeyError:
            raise ModelCorrupt(
                f"the merge {merge!r} names a token that is not in the vocabulary; pull the model again"
            ) from None
    return found
