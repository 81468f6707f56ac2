"""From GGUF metadata to a tokenizer: which family it is, and whether that family is exact here."""

from __future__ import annotations

from typing import Any

from engine.errors import ModelCorrupt, ModelUnsupported
from engine.tokenizers.byte_level import ByteLevelBPE, Merge
from engine.tokenizers.pretokenize import pretokenizer_for
from engine.vocab import TokenKind, Vocab


def _gpt2_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in character → byte value (openai/gpt-2, encoder.py)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


_ALPHABET = _gpt2_alphabet()


def tokenizer_from_metadata(metadata: dict[str, Any]) -> ByteLevelBPE:
    """The canonical tokenizer that GGUF metadata describe.

    Raises ModelUnsupported for a family that is not exact here, ModelCorrupt for missing metadata.
    """
    family = metadata.get("tokenizer.ggml.model")
    if family is None or "tokenizer.ggml.tokens" not in metadata:
        raise ModelCorrupt("the model file has no vocabulary; pull or export the model again")
    if family != "gpt2":
        raise ModelUnsupported(
            f"the tokenizer family {family!r} is not supported yet, so its completions would not be exact;"
            " choose a model with a byte-level BPE vocabulary (gpt2)"
        )
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    vocab = Vocab(*_token_bytes(tokens, [int(kind) for kind in metadata["tokenizer.ggml.token_type"]]))
    ids = {text: token for token, text in enumerate(tokens)}
    return ByteLevelBPE(
        vocab,
        _read_merges(metadata["tokenizer.ggml.merges"], ids),
        pretokenizer_for(str(metadata.get("tokenizer.ggml.pre", "default"))),
    )


def _token_bytes(tokens: list[str], kinds: list[int]) -> tuple[list[bytes], list[int]]:
    """κ of each token; control tokens, and tokens outside the alphabet, have no bytes."""
    spelled: list[bytes] = []
    normal = int(TokenKind.NORMAL)
    for token, kind in enumerate(kinds):
        try:
            spelled.append(bytes([_ALPHABET[c] for c in tokens[token]]) if kind == normal else b"")
        except KeyError:
            spelled.append(b"")
            kinds[token] = TokenKind.UNUSED
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
