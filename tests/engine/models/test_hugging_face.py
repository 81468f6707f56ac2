"""`hf:` sources, with a stand-in for huggingface_hub."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from engine.errors import DownloadError
from engine.models import store

Download = Callable[..., str]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Download], None]:
    """Installs a huggingface_hub whose `hf_hub_download` is the given function."""

    def install(download: Download) -> None:
        module = ModuleType("huggingface_hub")
        module.hf_hub_download = download  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "huggingface_hub", module)
        utils = SimpleNamespace(disable_progress_bars=lambda: None)
        monkeypatch.setitem(sys.modules, "huggingface_hub.utils", utils)

    return install


def test_a_file_from_a_repository(
    hub: Callable[[Download], None],
    register: Callable[..., None],
    make_gguf: Callable[..., bytes],
    unfinished: Callable[[], list[str]],
) -> None:
    data = make_gguf()

    def download(repository: str, filename: str, local_dir: str) -> str:
        assert (repository, filename) == ("owner/repo", "sub/m.gguf")
        path = Path(local_dir) / "m.gguf"
        path.write_bytes(data)
        return str(path)

    hub(download)
    register("far", data, "hf:owner/repo/sub/m.gguf", sha256="")
    assert store.pull("far").path.read_bytes() == data
    assert unfinished() == []


def test_an_interrupted_download_is_kept_for_resuming(
    hub: Callable[[Download], None], register: Callable[..., None], home: Path
) -> None:
    def download(repository: str, filename: str, local_dir: str) -> str:
        half = Path(local_dir) / "m.gguf.incomplete"
        if half.exists():
            raise OSError("connection lost again\nand more lines")
        half.write_bytes(b"half")
        raise KeyboardInterrupt

    hub(download)
    register("far", b"x", "hf:owner/repo/m.gguf", sha256="")
    with pytest.raises(KeyboardInterrupt):
        store.pull("far")
    with pytest.raises(DownloadError, match="was not delivered: connection lost again; check the network"):
        store.pull("far")
    assert store.remove("far") == len(b"half")
    assert not (home / "models" / "far").exists()


def test_without_the_library(register: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    register("far", b"x", "hf:owner/repo/m.gguf", sha256="")
    with pytest.raises(DownloadError, match=r'pip install "midword\[hf\]"'):
        store.pull("far")
