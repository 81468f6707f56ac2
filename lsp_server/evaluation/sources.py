"""Held-out source files: pinned packages, fetched by pip, npm and apt-get and kept in the cache folder."""

from __future__ import annotations

import fnmatch
import io
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from engine.errors import DownloadError

FILE_BYTES = (2_000, 60_000)
"""Smaller files say little, larger ones would have too large a share."""
LONGEST_LINE_BYTES = 300
"""A longer line is a sign of generated text."""
FETCH_S = 300


@dataclass(frozen=True, slots=True)
class Package:
    """A line of `sources.toml`."""

    name: str
    version: str
    registry: Literal["pypi", "npm", "debian"]
    licence: str
    language: str
    files: str
    """Which members are used: a pattern."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a package."""

    package: Package
    path: str
    text: bytes

    @property
    def lines(self) -> list[bytes]:
        """With their ends."""
        return self.text.splitlines(keepends=True)


def packages(languages: Sequence[str] = ()) -> list[Package]:
    """The packages in some languages, or all of them."""
    table = tomllib.loads(Path(__file__).with_name("sources.toml").read_text())
    found = [Package(**fields) for fields in table["package"]]
    return [package for package in found if not languages or package.language in languages]


def sources(package: Package, folder: Path | None = None) -> list[Source]:
    """The files of a package that are used, in order of their paths. Raises DownloadError."""
    archive = fetched(package, folder or Path(platformdirs.user_cache_dir("midword")) / "eval-sources")
    found = [Source(package, path, text) for path, text in members(archive) if _is_used(package, path, text)]
    return sorted(found, key=lambda source: source.path)


def _is_used(package: Package, path: str, text: bytes) -> bool:
    small, large = FILE_BYTES
    if not fnmatch.fnmatch(path, package.files) or not small <= len(text) <= large or b"\r" in text:
        return False
    return "_test." not in path and max(map(len, text.split(b"\n"))) <= LONGEST_LINE_BYTES


def fetched(package: Package, folder: Path) -> Path:
    """The package's archive in `folder`, fetched if it is not there. Raises DownloadError."""
    kept = folder / f"{package.registry}-{package.name}-{package.version or 'release'}"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            _fetch(package, Path(name))
            (archive,) = Path(name).iterdir()
            archive.rename(kept)
    return kept


def _fetch(package: Package, folder: Path) -> None:
    pinned = {"pypi": "==", "npm": "@", "debian": "="}[package.registry]
    wanted = f"{package.name}{pinned}{package.version}" if package.version else package.name
    command = {
        "pypi": [sys.executable, "-P", "-m", "pip", "download", "-q", "--no-deps",
                 "--only-binary=:all:", "--disable-pip-version-check", wanted],
        "npm": ["npm", "pack", "--silent", wanted],
        "debian": ["apt-get", "-q", "download", wanted],
    }[package.registry]  # fmt: skip
    program = {"pypi": "pip", "npm": "npm", "debian": "apt-get"}[package.registry]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DownloadError(f"{program} could not fetch {wanted}: {error}") from None
    if done.returncode or len(list(folder.iterdir())) != 1:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise DownloadError(f"{program} could not fetch {wanted}: {said}; check the network, then try again")


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Path and content of each file in a wheel, an npm tarball or a Debian package."""
    with archive.open("rb") as stream:
        start = stream.read(8)
    if start.startswith(b"PK"):
        with zipfile.ZipFile(archive) as wheel:
            yield from ((name, wheel.read(name)) for name in wheel.namelist() if not name.endswith("/"))
        return
    content = archive.read_bytes()
    if start.startswith(b"!<arch>"):
        content = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", str(archive)], capture_output=True, check=True
        ).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as tarball:
        for member in tarball:
            stream_ = tarball.extractfile(member) if member.isfile() else None
            if stream_ is not None:
                yield member.name, stream_.read()
