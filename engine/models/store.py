"""The models on this machine: pulled once, checked, requantised on first use, found by name.

Files are laid out as `engine.models.names` says and written as `engine.models.files` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ModelCorrupt, ModelNotFound
from engine.models import files, gguf
from engine.models.home import models_dir, save_tuned, tuned_weights
from engine.models.lock import exclusive
from engine.models.names import file_of, files_here, find, is_path, source_of, types_here
from engine.models.progress import Report, silent
from engine.models.registry import RegistryEntry, load
from engine.models.verify import Verdict, verdicts


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A whole GGUF file that can be opened now."""

    path: Path
    name: str
    """Registry name, or the file's name without `.gguf`."""
    entry: RegistryEntry | None
    """None for a file that was given by path."""
    weights: str
    """Weight type in lower case, such as `q8_0`."""

    @property
    def spelling(self) -> tuple[str | None, tuple[str, ...]]:
        """The FIM family and the stops that the registry knows of it."""
        return (self.entry.fim, self.entry.stop) if self.entry else (None, ())


@dataclass(frozen=True, slots=True)
class ModelState:
    """A registry entry and what is here of it."""

    entry: RegistryEntry
    pulled: tuple[str, ...]
    """Weight types on disk."""
    tuned: str | None
    disk_bytes: int


def resolve(name_or_path: str | None = None, progress: Report | None = None) -> ModelFile:
    """The file to run. None is the default model; a path to a .gguf is taken as it is; `name:type`
    chooses the weight type, `name:shipped` the file as it comes, a bare name the tuned or usual type.

    Pulls and requantises what is not here yet, and tells `progress` (see `engine.models.progress`).
    Raises ModelNotFound, ModelCorrupt, DownloadError, BackendError, InputError.
    """
    if name_or_path is not None and is_path(name_or_path):
        path = Path(name_or_path).expanduser()
        return ModelFile(path, path.stem, None, gguf.check(path).weights)
    entry, weights = find(name_or_path)
    path = file_of(entry, weights)
    if not _complete(path):
        with _locked(entry, progress or silent) as report:
            _make(entry, weights, report)
    return ModelFile(path, entry.name, entry, weights)


def find_here(name_or_path: str | None) -> ModelFile | None:
    """The file that `resolve` gives, if it is here and nothing has to be made. Raises as `resolve`.

    Of a file that is given by path nothing is read: its weight type stays empty.
    """
    if name_or_path is not None and is_path(name_or_path):
        path = Path(name_or_path).expanduser()
        return ModelFile(path, path.stem, None, "") if path.is_file() else None
    entry, weights = find(name_or_path)
    path = file_of(entry, weights)
    return ModelFile(path, entry.name, entry, weights) if _complete(path) else None


def pull(name: str | None = None, progress: Report | None = None) -> ModelFile:
    """Like `resolve`, but first drops files of the model that do not verify, so they are made anew."""
    entry, weights = find(name)
    with _locked(entry, progress or silent) as report:
        for verdict in verdicts(entry, report):
            if not verdict.ok:
                files.delete(verdict.path)
        _make(entry, weights, report)
    return ModelFile(file_of(entry, weights), entry.name, entry, weights)


def pulled_path(name: str | None = None) -> Path:
    """Where a pulled model is; its weight type is made if need be.

    Raises ModelNotFound if it was not pulled.
    """
    entry, _ = find(name)
    if not source_of(entry).exists():
        raise ModelNotFound(f"{entry.name} has not been pulled; run `midword models pull {entry.name}`")
    return resolve(name).path


def states() -> list[ModelState]:
    """All registry entries, with what is on disk."""
    return [_state(entry) for entry in load().entries.values()]


def verify(name: str | None = None, progress: Report | None = None) -> list[Verdict]:
    """Hash and check the files of one model, or of all that are here.

    Raises ModelNotFound if `name` is given and not here.
    """
    if name is None:
        return [v for entry in load().entries.values() for v in verdicts(entry, progress or silent)]
    entry, _ = find(name)
    found = verdicts(entry, progress or silent)
    if not found:
        raise ModelNotFound(f"{entry.name} has not been pulled; run `midword models pull {entry.name}`")
    return found


def remove(name: str) -> int:
    """Delete the model's files and its tuning, or with `name:type` the file of that type only.

    Returns the bytes freed. Files that are not midword's stay.
    Raises ModelNotFound if there is nothing to delete, DownloadError if it cannot be deleted.
    """
    entry, weights = find(name)
    folder = models_dir() / entry.name
    one = ":" in name
    with _locked(entry, silent):
        own = [file_of(entry, weights)] if one else sorted(folder.glob(f"{entry.name}-*.gguf"))
        own = [path for path in own if path.exists()]
        freed = sum(path.stat().st_size for path in own)
        if not one:
            freed += files.clear_work(folder)
        if not own and not freed:
            raise ModelNotFound(f"{name} is not on this machine, so there is nothing to remove")
        for path in own:
            files.delete(path)
    if not one:
        save_tuned(entry.name, None)
        with suppress(OSError):  # something of the user's lies there: it stays
            folder.rmdir()
    return freed


@contextmanager
def _locked(entry: RegistryEntry, report: Report) -> Iterator[Report]:
    """The only writer of the model's folder, with leftovers of interrupted ones gone."""
    with files.disk_errors(models_dir()), exclusive(models_dir() / ".locks" / entry.name, report):
        files.clean(models_dir() / entry.name, entry)
        yield report


def _make(entry: RegistryEntry, weights: str, report: Report) -> None:
    source, wanted = source_of(entry), file_of(entry, weights)
    if not _complete(source):
        files.fetch(entry, source, report)
    if _complete(wanted):
        return
    if entry.base:
        base = resolve(f"{entry.base}:shipped", report).path
        files.derive_with_delta(base, source, wanted, weights, report)
    else:
        files.derive(source, wanted, weights, report)


def _complete(path: Path) -> bool:
    """The file is here and as long as when it was finished. Raises ModelCorrupt if it is not as long."""
    if not path.exists():
        return False
    receipt, size = files.receipt(path), path.stat().st_size
    if receipt is None:
        gguf.check(path)
    elif receipt.size_bytes != size:
        raise ModelCorrupt(
            f"{path} has {size:,} bytes, {receipt.size_bytes:,} expected; "
            f"`midword models pull {path.parent.name}` replaces it"
        )
    return True


def _state(entry: RegistryEntry) -> ModelState:
    size = sum(path.stat().st_size for path in files_here(entry))
    return ModelState(entry, tuple(types_here(entry)), tuned_weights(entry.name), size)
