"""Small GGUF files, and a home folder whose registry names them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.models import files
from tests.engine.gguf_files import gguf_bytes


@pytest.fixture
def make_gguf() -> Callable[..., bytes]:
    return gguf_bytes


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("MIDWORD_HOME", str(folder))
    return folder


@pytest.fixture
def register(home: Path) -> Callable[..., None]:
    """`register(name, data, source)` adds a pinned entry for `data` to the user's registry, keyword
    arguments replace fields."""

    def add(name: str, data: bytes, source: str | list[str], /, **changes: Any) -> None:
        fields = {
            "source": [source] if isinstance(source, str) else source,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_bytes": len(data),
            "shipped": "f32",
            "weights": "f32",
            "licence": "MIT",
            "fim": "none",
            "stop": ["<end>"],
            "context": 512,
        } | changes
        lines = [f'[models."{name}"]'] + [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
        with (home / "registry.toml").open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    return add


@pytest.fixture
def tiny(tmp_path: Path, register: Callable[..., None]) -> Path:
    """The source file of a registered model `tiny`."""
    source = tmp_path / "source.gguf"
    source.write_bytes(gguf_bytes())
    register("tiny", source.read_bytes(), f"file:{source}")
    return source


@pytest.fixture
def fake_requantize(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for llama.cpp, which refuses toy models. Returns the weight types made, in order."""
    made: list[str] = []

    def copy(source: Path, target: Path, weights: str) -> None:
        made.append(weights)
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(files, "requantize", copy)
    return made


def leftovers(home: Path) -> list[str]:
    """Names of everything unfinished under the models folder."""
    return [path.name for path in (home / "models").rglob("*.part*")]


@pytest.fixture
def unfinished(home: Path) -> Callable[[], list[str]]:
    return lambda: leftovers(home)
