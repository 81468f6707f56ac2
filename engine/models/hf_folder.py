"""A Hugging Face model as a local folder: config.json, tokenizer.json, safetensors.

What is read here says what a GGUF file says of itself. The weights are never read, only their tables; files
that could run code when they are read (pickles) are refused.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from engine.errors import ModelCorrupt, ModelNotFound, ModelUnsupported
from engine.models.home import models_dir
from engine.tokenizers.tokenizer_json import metadata_from_json

FOLDER_WEIGHTS = ("f32", "bf16", "f16", "int8")
"""What may stand behind the colon of `FOLDER:TYPE`."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_FIM_SPELLINGS = {
    "pre": ("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "▁<PRE>", "<PRE>"),
    "suf": ("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "▁<SUF>", "<SUF>"),
    "mid": ("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "▁<MID>", "<MID>"),
    "pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>"),
    "rep": ("<|repo_name|>", "<reponame>", "<repo_name>"),
    "sep": ("<|file_sep|>", "<file_sep>"),
}  # fmt: skip
"""Sentinels as vocabularies spell them (ggml-org/llama.cpp, src/llama-vocab.cpp, looks for the same)."""


def find_folder(text: str) -> tuple[Path, str | None] | None:
    """The folder and weight type that `text` names, None if it names no folder.

    A folder is given by its path, or by its name if it lies in midword's model folder.
    """
    bare, colon, weights = text.rpartition(":")
    name, chosen = (bare, weights) if colon and weights in FOLDER_WEIGHTS else (text, None)
    path = Path(name).expanduser()
    if path.is_dir() and (os.sep in name or (path / "config.json").exists()):
        return path, chosen
    stored = models_dir() / name
    return (stored, chosen) if (stored / "config.json").is_file() else None


def check_folder(folder: Path) -> None:
    """Sees that config and weights are whole. Raises ModelNotFound, ModelCorrupt, ModelUnsupported."""
    if not (folder / "config.json").is_file():
        raise ModelNotFound(f"{folder} has no config.json, so it is no Hugging Face model; check the path")
    for path in _weight_files(folder):
        _check_table(path)


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(_json(index)["weight_map"].values()))
        except (KeyError, TypeError, AttributeError):
            raise ModelCorrupt(f"{index} does not say which files it has; fetch it again") from None
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise ModelCorrupt(f"{folder} lacks {', '.join(missing)}; fetch the rest of the model")
        return [folder / name for name in names]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if pickles := sorted(path.name for kind in _PICKLES for path in folder.glob(kind)):
        raise ModelUnsupported(
            f"{folder} has its weights as {pickles[0]}, a pickle that could run code when it is read;"
            " fetch or convert it as safetensors"
        )
    raise ModelNotFound(f"{folder} has no model.safetensors; fetch the weights too")


def _check_table(path: Path) -> None:
    """A safetensors file is 8 bytes of length, a JSON table, and as many bytes as the table says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ModelCorrupt(f"{path} is not a whole safetensors file; fetch it again")
        try:
            table = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in table.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise ModelCorrupt(f"{path} has a damaged table of tensors; fetch it again") from None
    if size != (expected := 8 + length + max(ends, default=0)):
        raise ModelCorrupt(f"{path} has {size:,} bytes, {expected:,} expected; fetch it again")


def folder_metadata(folder: Path) -> dict[str, Any]:
    """`tokenizer.ggml.*` as a GGUF of the same model would have them.

    Raises ModelCorrupt, ModelUnsupported if the tokenizer is not exact here.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelUnsupported(
            f"{folder} has no tokenizer.json; save it with transformers' fast tokenizer, or use its GGUF file"
        )
    metadata = metadata_from_json(path)
    ids = {text: token for token, text in enumerate(metadata["tokenizer.ggml.tokens"])}
    for part, spellings in _FIM_SPELLINGS.items():
        if (token := next((ids[text] for text in spellings if text in ids), None)) is not None:
            metadata[f"tokenizer.ggml.fim_{part}_token_id"] = token
    ends = _end_tokens(folder)
    if ends:
        metadata["tokenizer.ggml.eos_token_id"] = ends[0]
    if (start := _start_token(_json(path), ids)) is not None:
        metadata |= {"tokenizer.ggml.bos_token_id": start, "tokenizer.ggml.add_bos_token": True}
    return metadata


def end_texts(folder: Path, metadata: dict[str, Any]) -> tuple[str, ...]:
    """The texts of the tokens that the folder names as ends."""
    tokens = metadata["tokenizer.ggml.tokens"]
    return tuple(tokens[token] for token in _end_tokens(folder) if token < len(tokens))


def _end_tokens(folder: Path) -> list[int]:
    """Ids that end a text, by generation_config.json and config.json."""
    found: list[int] = []
    for name in ("generation_config.json", "config.json"):
        ends = _json(folder / name).get("eos_token_id") if (folder / name).is_file() else None
        found += ends if isinstance(ends, list) else [] if ends is None else [ends]
    return list(dict.fromkeys(int(token) for token in found))


def _start_token(tokenizer: dict[str, Any], ids: dict[str, int]) -> int | None:
    """The special token that the tokenizer's template puts before a text."""
    processor = tokenizer.get("post_processor") or {}
    for part in processor.get("processors", [processor]):
        first = (part.get("single") or [{}])[0]
        if "SpecialToken" in first:
            return ids.get(first["SpecialToken"]["id"])
    return None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ModelCorrupt(f"{path} is damaged: a JSON object was expected; fetch it again")
    return found
