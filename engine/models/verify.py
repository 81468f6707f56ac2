"""Is a file still what it was when it was pulled or made?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.errors import ModelError
from engine.models import files, gguf
from engine.models.names import files_here, source_of
from engine.models.progress import Report
from engine.models.registry import RegistryEntry


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification found for one file."""

    path: Path
    ok: bool
    note: str


def verdicts(entry: RegistryEntry, report: Report) -> list[Verdict]:
    """Hash and check every file of `entry` that is on disk."""
    return [_verdict(entry, path, report) for path in files_here(entry)]


def _verdict(entry: RegistryEntry, path: Path, report: Report) -> Verdict:
    report(f"checking {path.name}", 0, None)
    try:
        gguf.check(path)
        receipt, found = files.receipt(path), files.sha256_of(path)
    except ModelError as error:
        return Verdict(path, False, str(error))
    except OSError as error:
        return Verdict(path, False, f"{path} cannot be read: {error.strerror}")
    pinned = entry.sha256 if path == source_of(entry) else ""
    expected = pinned or (receipt.sha256 if receipt else "")
    if expected and found != expected:
        return Verdict(
            path, False, f"{path}: sha256 is {found}, {expected} expected; pull {entry.name} again"
        )
    if pinned:
        return Verdict(path, True, "checksum as registered")
    return Verdict(path, True, "unchanged since it was made" if expected else "GGUF header and length only")
