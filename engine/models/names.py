"""From what a user writes to an entry and a weight type, and from these to the file's place.

`MODELS/NAME/NAME-KEY-TYPE.gguf` holds model NAME with weight type TYPE; KEY changes with its source.
The file of the shipped type is the download itself, the others are made from it. Of a model with a base the
download is called `delta`, and all types are made from the base and it.
"""

from __future__ import annotations

import os
from pathlib import Path

from engine.errors import InputError
from engine.models.home import models_dir, tuned_weights
from engine.models.quantize import WEIGHT_TYPES
from engine.models.registry import RegistryEntry, load


def find(name: str | None) -> tuple[RegistryEntry, str]:
    """The registry entry and weight type that `name` or `name:type` stands for; None is the default.

    Raises ModelNotFound, InputError.
    """
    registry = load()
    bare, _, weights = (name or registry.default).partition(":")
    entry = registry.find(bare)
    weights = weights.lower() or tuned_weights(bare) or entry.weights
    if weights == "shipped":
        weights = entry.shipped
    if weights not in WEIGHT_TYPES:
        raise InputError(f"{weights!r} is not a weight type; take one of shipped, {', '.join(WEIGHT_TYPES)}")
    return entry, weights


def file_of(entry: RegistryEntry, weights: str) -> Path:
    """Where the model of `entry` with type `weights` is, or would be."""
    return models_dir() / entry.name / f"{entry.name}-{entry.key}-{weights}.gguf"


def source_of(entry: RegistryEntry) -> Path:
    """Where the file that the registry describes is, or would be: a model, or what is added to the base."""
    return file_of(entry, "delta" if entry.base else entry.shipped)


def types_here(entry: RegistryEntry) -> list[str]:
    """The weight types of `entry` that are on disk."""
    return [weights for weights in WEIGHT_TYPES if file_of(entry, weights).exists()]


def files_here(entry: RegistryEntry) -> list[Path]:
    """All files of `entry` that are on disk."""
    paths = [file_of(entry, weights) for weights in types_here(entry)]
    return paths + [path for path in (source_of(entry),) if path not in paths and path.exists()]


def is_path(text: str) -> bool:
    """`text` is meant as a path: it ends in .gguf, names a folder, or is a file no registry name hides."""
    if text.endswith(".gguf") or os.sep in text or (os.altsep and os.altsep in text):
        return True
    return Path(text).is_file() and text not in load().entries
