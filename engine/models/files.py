"""Writing model files so that a name never stands for half a file.

A file is written as `NAME.part`, checked, synced, described in `NAME.json` (its receipt), renamed to
NAME. A reader that sees NAME therefore sees a whole, checked file. All writers hold the model's lock.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.errors import DownloadError, ModelCorrupt
from engine.models import gguf
from engine.models.progress import Report
from engine.models.quantize import requantize
from engine.models.registry import RegistryEntry
from engine.models.sources import open_source, resumable

_BLOCK_BYTES = 1 << 20
_WORK = "download.part"
MOST_GROWTH = 8
"""Room for F16 weights twice, of a base of some four bits a weight: besides the model's there are those of a
full delta, then those that are wanted."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a file was when it was finished."""

    sha256: str
    size_bytes: int
    made_from: str


def receipt(path: Path) -> Receipt | None:
    """The receipt of `path`, None if there is none that can be read."""
    try:
        return Receipt(**json.loads(_receipt_path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def fetch(entry: RegistryEntry, target: Path, report: Report) -> None:
    """Bring the model of `entry` to `target`, checked as far as the registry pins it.

    Raises DownloadError, ModelCorrupt.
    """
    keep_work = any(map(resumable, entry.source))
    try:
        with _writing(target) as part:
            _require_space(target.parent, 2 * entry.size_bytes)
            sha256 = _join(entry, part, target.with_name(_WORK), report)
            keep_work = False  # it came through: whole, or so wrong that resuming would not help
            _check_download(entry, part, sha256)
            _publish(part, target, sha256, " + ".join(entry.source))
    finally:
        if not keep_work:
            clear_work(target.parent)


def derive(source: Path, target: Path, weights: str, report: Report) -> None:
    """Make `target`, the model `source` with another weight type. Raises BackendError, DownloadError."""
    with _writing(target) as part:
        report(f"making {weights} weights", 0, None)
        requantize(source, part, weights)
        gguf.check(part)
        _publish(part, target, sha256_of(part), source.name)


def derive_with_delta(base: Path, delta: Path, target: Path, weights: str, report: Report) -> None:
    """Make `target`: the model `base` with `delta` added, with weight type `weights`.

    Raises BackendError, DownloadError, ModelCorrupt.
    """
    with _writing(target) as part, _writing(target.with_name(f"{target.name}.f16")) as exact:
        report(f"making {weights} weights of {base.stem} and {delta.stem}", 0, None)
        _require_space(target.parent, MOST_GROWTH * base.stat().st_size)
        requantize(base, exact, "f16")
        from engine.models.delta import add_delta  # with numpy, which the start of the engine cannot wait for

        add_delta(exact, delta)
        requantize(exact, part, weights)
        gguf.check(part)
        _publish(part, target, sha256_of(part), f"{base.name} + {delta.name}")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 lower-case hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clean(folder: Path, entry: RegistryEntry) -> None:
    """Remove what an interrupted run left in `folder`, save what its source can resume."""
    for part in folder.glob(f"{entry.name}-*.part"):
        part.unlink(missing_ok=True)
    if not any(map(resumable, entry.source)):
        clear_work(folder)


def clear_work(folder: Path) -> int:
    """Remove unfinished downloads in `folder`. Returns the bytes freed."""
    work = folder / _WORK
    freed = sum(file.stat().st_size for file in work.rglob("*") if file.is_file())
    shutil.rmtree(work, ignore_errors=True)
    return freed


def delete(path: Path) -> None:
    """Remove a model file and its receipt."""
    path.unlink(missing_ok=True)
    _receipt_path(path).unlink(missing_ok=True)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into one sentence (DownloadError)."""
    try:
        yield
    except OSError as error:
        cure = "allow it, or set MIDWORD_HOME to a folder you may write to"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            cure = "free some space, or set MIDWORD_HOME to a folder on another disk"
        raise DownloadError(
            f"{error.filename or folder} cannot be written: {error.strerror}; {cure}"
        ) from None


@contextmanager
def _writing(target: Path) -> Iterator[Path]:
    """The `.part` beside `target`, which does not outlive the block, even on Ctrl-C."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _join(entry: RegistryEntry, part: Path, work: Path, report: Report) -> str:
    """Write all sources of `entry` one after the other to `part`. Returns the SHA-256 of the whole."""
    digest, done = hashlib.sha256(), 0
    with part.open("wb") as out:
        for number, source in enumerate(entry.source):
            folder = work / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            with open_source(source, folder, report) as stream:
                while block := stream.read(_BLOCK_BYTES):
                    done += len(block)
                    if entry.pinned and done > entry.size_bytes:
                        raise ModelCorrupt(f"{source} is longer than the {entry.size_bytes:,} bytes expected")
                    digest.update(block)
                    out.write(block)
                    report(f"unpacking {entry.name}", done, max(done, entry.size_bytes))
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _check_download(entry: RegistryEntry, part: Path, sha256: str) -> None:
    """Raises ModelCorrupt unless `part` is what the registry says; the sentence names the model."""
    size = part.stat().st_size
    if entry.pinned and size != entry.size_bytes:
        raise ModelCorrupt(
            f"{entry.name}: {size:,} bytes came, {entry.size_bytes:,} expected; nothing was kept, pull again"
        )
    try:
        gguf.check(part)
    except ModelCorrupt as error:
        raise ModelCorrupt(f"{entry.name}: {error} (nothing was kept)") from None
    if entry.pinned and sha256 != entry.sha256:
        raise ModelCorrupt(
            f"{entry.name}: sha256 is {sha256}, {entry.sha256} expected; nothing was kept: "
            "the source is damaged or has been changed"
        )


def _publish(part: Path, target: Path, sha256: str, made_from: str) -> None:
    """Rename a finished `part` to `target`, its receipt first."""
    note = _receipt_path(target)
    half = note.with_name(f"{note.name}.part")
    half.write_text(
        json.dumps(asdict(Receipt(sha256, part.stat().st_size, made_from))) + "\n", encoding="utf-8"
    )
    half.replace(note)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)


def _receipt_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _require_space(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise DownloadError(
            f"{folder} has {free / 1e6:,.0f} MB free, {needed_bytes / 1e6:,.0f} MB needed; "
            "free some space, or set MIDWORD_HOME to a folder on another disk"
        )
