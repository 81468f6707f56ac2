"""Small GGUF files, and a home folder whose registry names them."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.models import files

_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def _string(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(raw)) + raw


def _value(kind: int, value: Any) -> bytes:
    if kind == 8:
        return _string(value)
    if kind == 9:
        element, items = value
        return struct.pack("<IQ", element, len(items)) + b"".join(_value(element, item) for item in items)
    return struct.pack("<" + _FORMATS[kind], value)


def gguf_bytes(
    pairs: dict[str, tuple[int, Any]] | None = None,
    tensors: dict[str, tuple[int, tuple[int, ...], bytes]] | None = None,
) -> bytes:
    """A GGUF of `name: (type, value)` pairs and `name: (type, shape, weights)` tensors, alignment 32."""
    pairs = {"general.architecture": (8, "llama")} if pairs is None else pairs
    tensors = {"token_embd.weight": (0, (4, 2), bytes(range(32)))} if tensors is None else tensors
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs))
    head += b"".join(
        _string(key) + struct.pack("<I", kind) + _value(kind, value) for key, (kind, value) in pairs.items()
    )
    body = b""
    for name, (kind, shape, weights) in tensors.items():
        body += b"\0" * (-len(body) % 32)
        head += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(body))
        body += weights
    return head + b"\0" * (-len(head) % 32) + body


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
