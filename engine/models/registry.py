"""The models midword knows by name: `registry.toml` beside this file, then the user's own."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from engine.errors import InputError, ModelNotFound
from engine.models.home import data_dir
from engine.models.quantize import WEIGHT_TYPES

FIM_TEMPLATES = frozenset({
    "none", "starcoder", "santacoder", "codellama", "deepseek", "qwen", "codegemma",
    "codestral", "granite", "mellum", "seed-coder", "smollm2", "smollm2-spm",
    "falcon-h1",
})  # fmt: skip
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_SHA256 = re.compile(r"(?:[0-9a-f]{64})?")


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """One model; the fields are explained at the top of `registry.toml`."""

    name: str
    source: tuple[str, ...]
    sha256: str
    size_bytes: int
    shipped: str
    weights: str
    licence: str
    fim: str
    stop: tuple[str, ...]
    context: int
    base: str = ""

    @property
    def pinned(self) -> bool:
        """The checksum is known, so a download is checked byte for byte."""
        return bool(self.sha256)

    @property
    def key(self) -> str:
        """Twelve hex digits that change with the source file; part of every cached file's name."""
        return (self.sha256 or hashlib.sha256("\n".join(self.source).encode()).hexdigest())[:12]


@dataclass(frozen=True, slots=True)
class Registry:
    """All entries by name, and which one is taken when none is named."""

    default: str
    entries: Mapping[str, RegistryEntry]

    def find(self, name: str) -> RegistryEntry:
        """The entry called `name`. Raises ModelNotFound with the nearest names."""
        if name in self.entries:
            return self.entries[name]
        near = get_close_matches(name, self.entries, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `midword models list`"
        raise ModelNotFound(f"there is no model named {name!r} and no such file; {hint}")


@cache
def shipped_names() -> frozenset[str]:
    """The names in midword's own registry, without the user's."""
    return frozenset(_read(Path(__file__).with_name("registry.toml")).entries)


def load() -> Registry:
    """midword's registry with the user's entries over it. Raises InputError if a file is wrong."""
    registry = _read(Path(__file__).with_name("registry.toml"))
    own = data_dir() / "registry.toml"
    if not own.is_file():
        return registry
    mine = _read(own)
    merged = Registry(mine.default or registry.default, {**registry.entries, **mine.entries})
    if merged.default not in merged.entries:
        raise InputError(f"{own}: the default model {merged.default!r} has no entry; add it or name another")
    return merged


def _read(path: Path) -> Registry:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as TOML: {error}") from None
    try:
        entries = {name: _entry(path, name, values) for name, values in table.get("models", {}).items()}
    except (TypeError, AttributeError) as error:
        raise InputError(
            f"{path} has a value of the wrong type ({error}); compare with midword's own"
        ) from None
    return Registry(str(table.get("default", "")), entries)


def _entry(path: Path, name: str, values: dict[str, Any]) -> RegistryEntry:
    """Validate one table, so that nothing later needs to."""

    def require(holds: bool, what: str) -> None:
        if not holds:
            raise InputError(f"{path}, model {name!r}: {what}")

    wanted = {field.name for field in fields(RegistryEntry)} - {"name", "base"}
    require(set(values) - {"base"} == wanted, f"the keys should be {', '.join(sorted(wanted))}")
    entry = RegistryEntry(
        name, **(values | {"source": tuple(values["source"]), "stop": tuple(values["stop"])})
    )
    require(bool(_NAME.fullmatch(name)), "a name has lower-case letters, digits, dots and dashes only")
    require(bool(entry.source), "source is empty")
    for source in entry.source:
        require(source.startswith(("pypi:", "hf:", "file:", "package:")), f"unknown source {source!r}")
    require(bool(_SHA256.fullmatch(entry.sha256)), "sha256 should have 64 lower-case hex digits, or be empty")
    require(entry.size_bytes > 0 and entry.context > 0, "size_bytes and context should be positive")
    for weights in (entry.shipped, entry.weights):
        require(weights in WEIGHT_TYPES, f"unknown weight type {weights!r}")
    require(entry.fim in FIM_TEMPLATES, f"unknown FIM template {entry.fim!r}")
    require(isinstance(entry.base, str), "base should be the name of a model")
    return entry
