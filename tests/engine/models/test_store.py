"""Pull, resolve, verify, remove: with whole files, damaged ones, interruptions and rivals."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

from engine.errors import DownloadError, ModelCorrupt, ModelNotFound
from engine.models import files, store

Unfinished = Callable[[], list[str]]


def test_pull_then_use(tiny: Path, unfinished: Unfinished) -> None:
    with pytest.raises(ModelNotFound, match="midword models pull tiny"):
        store.pulled_path("tiny")
    steps: list[str] = []
    model = store.pull("tiny", lambda step, done, total: steps.append(step))
    assert model.path.read_bytes() == tiny.read_bytes()
    assert (model.name, model.weights) == ("tiny", "f32") and model.entry is not None
    assert "unpacking tiny" in steps
    assert store.pulled_path("tiny") == store.resolve("tiny").path == model.path
    assert unfinished() == []


def test_resolve_pulls_and_requantises_once(tiny: Path, fake_requantize: list[str]) -> None:
    model = store.resolve("tiny:q8_0")
    assert model.path.name.endswith("-q8_0.gguf") and model.weights == "q8_0"
    assert store.resolve("tiny:q8_0") == model
    assert fake_requantize == ["q8_0"]
    tiny.unlink()
    assert store.resolve("tiny:q6_k").path.exists(), "made from the cached download, not from the source"


def test_a_path_is_used_as_it_is(tiny: Path) -> None:
    model = store.resolve(str(tiny))
    assert (model.path, model.name, model.entry, model.weights) == (tiny, "source", None, "f32")
    with pytest.raises(ModelNotFound, match="there is no file"):
        store.resolve("./nowhere.gguf")


def _expect_refusal(
    source: Path, data: bytes, kind: type[Exception], message: str, unfinished: Unfinished
) -> None:
    source.write_bytes(data)
    with pytest.raises(kind, match=message) as caught:
        store.resolve("tiny")
    assert "\n" not in str(caught.value)
    assert unfinished() == []
    with pytest.raises(ModelNotFound):
        store.pulled_path("tiny")


def test_damaged_downloads_are_refused(tiny: Path, unfinished: Unfinished) -> None:
    whole = tiny.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    _expect_refusal(
        tiny, whole[:-7], ModelCorrupt, f"{len(whole) - 7} bytes came, {len(whole)} expected", unfinished
    )
    _expect_refusal(tiny, whole + b"x", ModelCorrupt, f"longer than the {len(whole)} bytes", unfinished)
    _expect_refusal(tiny, flipped, ModelCorrupt, "tiny: sha256 is .* expected", unfinished)
    _expect_refusal(
        tiny, b"x" * len(whole), ModelCorrupt, "not a GGUF file: it starts with 'xxxx'", unfinished
    )
    tiny.write_bytes(whole)
    assert store.resolve("tiny").path.read_bytes() == whole


def test_unpinned_download_is_checked_by_its_header(
    tmp_path: Path, register: Callable[..., None], make_gguf: Callable[..., bytes]
) -> None:
    source, whole = tmp_path / "u.gguf", make_gguf()
    register("loose", whole, f"file:{source}", sha256="", size_bytes=5)
    source.write_bytes(whole[:-1])
    with pytest.raises(ModelCorrupt, match="truncated"):
        store.pull("loose")
    source.write_bytes(whole)
    path = store.pull("loose").path
    assert [(v.ok, v.note) for v in store.verify("loose")] == [(True, "unchanged since it was made")]
    path.write_bytes(whole[:-1] + b"?")
    assert not store.verify("loose")[0].ok


def test_missing_source(tiny: Path) -> None:
    tiny.unlink()
    with pytest.raises(DownloadError, match="No such file"):
        store.pull("tiny")


class _Interrupted(SimpleNamespace):
    def read(self, count: int) -> bytes:
        raise KeyboardInterrupt


def test_ctrl_c_leaves_nothing(tiny: Path, unfinished: Unfinished, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def interrupted(source: str, folder: Path, report: object) -> Iterator[object]:
        yield _Interrupted()

    with monkeypatch.context() as patch:
        patch.setattr(files, "open_source", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.pull("tiny")
    assert unfinished() == []
    store.pull("tiny")
    assert unfinished() == []


def test_leftovers_of_a_killed_run_are_cleaned(tiny: Path, home: Path, unfinished: Unfinished) -> None:
    folder = home / "models" / "tiny"
    (folder / "download.part" / "0").mkdir(parents=True)
    (folder / "download.part" / "0" / "half.whl").write_bytes(b"half")
    (folder / "tiny-000000000000-f32.gguf.part").write_bytes(b"half")
    store.pull("tiny")
    assert unfinished() == []


def test_a_failed_requantisation_leaves_the_download(
    tiny: Path, unfinished: Unfinished, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(source: Path, target: Path, weights: str) -> None:
        target.write_bytes(source.read_bytes()[:-1])

    monkeypatch.setattr(files, "requantize", half)
    with pytest.raises(ModelCorrupt, match="truncated"):
        store.resolve("tiny:q8_0")
    assert unfinished() == [] and store.pulled_path("tiny").exists()


def test_verify_finds_damage_and_pull_repairs_it(tiny: Path, fake_requantize: list[str]) -> None:
    store.resolve("tiny:q8_0")
    notes = {verdict.path.name[-9:]: verdict for verdict in store.verify()}
    assert notes["-f32.gguf"].note == "checksum as registered"
    assert notes["q8_0.gguf"].note == "unchanged since it was made"
    path = store.resolve("tiny").path
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ModelCorrupt, match="`midword models pull tiny` replaces it"):
        store.resolve("tiny")
    bad = [verdict for verdict in store.verify("tiny") if not verdict.ok]
    assert len(bad) == 1 and "truncated" in bad[0].note
    store.pull("tiny")
    assert all(verdict.ok for verdict in store.verify("tiny"))


def test_verify_of_what_is_not_here(tiny: Path) -> None:
    assert store.verify() == []
    with pytest.raises(ModelNotFound, match="has not been pulled"):
        store.verify("tiny")


def test_remove_takes_only_its_own(tiny: Path, home: Path, fake_requantize: list[str]) -> None:
    store.resolve("tiny:q8_0")
    folder = home / "models" / "tiny"
    (folder / "notes.txt").write_text("the user's")
    size = len(tiny.read_bytes())
    assert store.remove("tiny:q8_0") == size
    assert store.pulled_path("tiny").exists()
    assert store.remove("tiny") == size
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    with pytest.raises(ModelNotFound, match="nothing to remove"):
        store.remove("tiny")


def test_rivals_fetch_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, real = [], files.open_source

    @contextmanager
    def slow(
        source: str, folder: Path, report: Callable[[str, int, int | None], None]
    ) -> Iterator[IO[bytes]]:
        opened.append(source)
        threading.Event().wait(0.2)
        with real(source, folder, report) as stream:
            yield stream

    monkeypatch.setattr(files, "open_source", slow)
    found: list[Path] = []
    rivals = [threading.Thread(target=lambda: found.append(store.resolve("tiny").path)) for _ in range(4)]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join()
    assert len(found) == 4 and len(set(found)) == 1 and len(opened) == 1


def test_a_full_disk(tiny: Path, unfinished: Unfinished, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
        with pytest.raises(DownloadError, match=r"MB free, .* MB needed"):
            store.pull("tiny")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(
            DownloadError, match=r"No space left on device; free some space, or set MIDWORD_HOME"
        ):
            store.pull("tiny")
    assert unfinished() == []


def test_a_home_that_cannot_be_written(tiny: Path, home: Path) -> None:
    (home / "models").write_text("a file where a folder should be")
    with pytest.raises(DownloadError, match=r"cannot be written: .*MIDWORD_HOME"):
        store.pull("tiny")


def test_a_read_only_home_still_serves(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.pull("tiny").path

    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "lock")

    monkeypatch.setattr("engine.models.lock.os.open", refuse)
    assert store.resolve("tiny").path == path
    with pytest.raises(DownloadError, match="lock cannot be written: Permission denied"):
        store.pull("tiny")


def test_states(tiny: Path) -> None:
    store.pull("tiny")
    state = next(state for state in store.states() if state.entry.name == "tiny")
    assert state.pulled == ("f32",) and state.tuned is None and state.disk_bytes == len(tiny.read_bytes())
