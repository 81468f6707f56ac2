"""`pypi:` sources, with real pip and made-up wheels in a folder that stands for the index."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import DownloadError, ModelCorrupt
from engine.models import pypi, store

Register = Callable[..., None]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(index: Path, name: str, member: str, data: bytes) -> Path:
    """A valid wheel `name` 1.0 that holds `member`, and a module that must not be imported."""
    path = index / f"{name}-1.0-py3-none-any.whl"
    members = {
        f"{name}/__init__.py": b"raise SystemExit('a wheel was imported')\n",
        f"{name}/{member}": data,
        f"{name}-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        "Requires-Dist: not-to-be-fetched\n".encode(),
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b'=').decode()},{len(raw)}\n"
        for name, raw in members.items()
    )
    with zipfile.ZipFile(path, "w") as archive:
        for key, raw in members.items():
            archive.writestr(key, raw)
        archive.writestr(f"{name}-1.0.dist-info/RECORD", record)
    return path


def test_a_file_out_of_a_wheel(
    index: Path, register: Register, make_gguf: Callable[..., bytes], unfinished: Callable[[], list[str]]
) -> None:
    data = make_gguf()
    write_wheel(index, "wheelmodel", "m.gguf", data)
    register("one", data, "pypi:wheelmodel==1.0/wheelmodel/m.gguf")
    assert store.pull("one").path.read_bytes() == data
    assert unfinished() == []


def test_several_wheels_are_joined(index: Path, register: Register, make_gguf: Callable[..., bytes]) -> None:
    data = make_gguf()
    write_wheel(index, "parta", "m.part0", data[:50])
    write_wheel(index, "partb", "m.part1", data[50:])
    register("two", data, ["pypi:parta==1.0/parta/m.part0", "pypi:partb==1.0/partb/m.part1"])
    assert store.pull("two").path.read_bytes() == data


def test_what_pip_says_is_passed_on(index: Path, register: Register) -> None:
    register("gone", b"x", "pypi:no-such-thing==1.0/m.gguf")
    with pytest.raises(
        DownloadError, match=r"pip could not fetch no-such-thing==1\.0: No matching distribution"
    ):
        store.pull("gone")


def test_a_wheel_without_the_file(index: Path, register: Register) -> None:
    write_wheel(index, "wheelmodel", "other.gguf", b"x")
    register("one", b"x", "pypi:wheelmodel==1.0/wheelmodel/m.gguf")
    with pytest.raises(ModelCorrupt, match=r"has no file wheelmodel/m\.gguf"):
        store.pull("one")


def test_a_damaged_wheel(
    index: Path, register: Register, make_gguf: Callable[..., bytes], unfinished: Callable[[], list[str]]
) -> None:
    data = make_gguf()
    wheel = write_wheel(index, "wheelmodel", "m.gguf", data)
    wheel.write_bytes(wheel.read_bytes().replace(data[-16:], bytes(16)))
    register("one", data, "pypi:wheelmodel==1.0/wheelmodel/m.gguf")
    with pytest.raises(ModelCorrupt, match="is a damaged wheel: Bad CRC-32"):
        store.pull("one")
    assert unfinished() == []


def test_no_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> str:
        raise pypi.PackageNotFoundError(name)

    monkeypatch.setattr(pypi, "version", missing)
    with pytest.raises(DownloadError, match="-m ensurepip"):
        pypi.download("x==1", tmp_path, lambda step, done, total: None)


def test_raw_progress_moves_the_bar_and_ctrl_c_ends_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "print('Collecting x', 'Progress 5 of 10', sep='\\n', flush=True); import time; time.sleep(60)"
    monkeypatch.setattr(pypi, "_pip_command", lambda *arguments: [sys.executable, "-c", script])
    started: list[subprocess.Popen[str]] = []
    real = subprocess.Popen

    def spy(*arguments: object, **options: object) -> subprocess.Popen[str]:
        started.append(real(*arguments, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(pypi.subprocess, "Popen", spy)
    seen: list[tuple[int, int | None]] = []

    def report(step: str, done: int, total: int | None) -> None:
        seen.append((done, total))
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pypi.download("x==1", tmp_path, report)
    assert seen == [(0, None), (5, 10)]
    assert started[0].returncode is not None
