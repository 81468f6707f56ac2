"""Fetching the packages of `packages.toml` through the ordinary clients, and reading the files in them.

Nothing is installed, built or run: a wheel is a zip archive, an npm package or a Debian source a tar archive,
and a Debian package is unpacked by `dpkg-deb`. Debian sources need a `deb-src` entry in apt's list.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LANGUAGES = {
    "python": (".py",),
    "javascript": (".js", ".mjs"),
    "typescript": (".ts",),
    "go": (".go",),
    "rust": (".rs",),
    "c": (".c", ".h"),
}
"""Language → endings of its files."""
COPIES = ("vendor", "third_party/", "thirdparty", "node_modules/", "_pb2")
"""Parts of paths that are never taken: other projects' files, and what protobuf generates."""


@dataclass(frozen=True, slots=True)
class Package:
    """One entry of `packages.toml`, where the fields are explained."""

    name: str
    registry: str
    licence: str
    languages: tuple[str, ...]
    version: str = ""
    skip: tuple[str, ...] = ()
    heldout: bool = False

    def language_of(self, path: str) -> str | None:
        """The language of a file that should be taken, None for any other file."""
        if any(part in path for part in COPIES + self.skip) or path.endswith((".d.ts", ".min.js")):
            return None
        return next((name for name in self.languages if path.endswith(LANGUAGES[name])), None)


def read_packages(path: Path) -> tuple[list[Package], int]:
    """The packages, and the most bytes of text taken from one. Raises ValueError for an unknown key."""
    table = tomllib.loads(path.read_text())
    try:
        packages = [Package(**_frozen(entry)) for entry in table["package"]]
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from None
    return packages, int(table["cap_mb"]) * 1_000_000


def _frozen(entry: dict[str, Any]) -> dict[str, Any]:
    """Lists become tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def fetch(package: Package, folder: Path) -> Path:
    """The package's archive in `folder`, downloaded unless it is there: the largest of its files.

    Raises ValueError with the client's last words.
    """
    target = folder / f"{package.name.replace('/', '+')}-{package.version or 'current'}"
    if not target.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder))
        try:
            _download(package, scratch)
            scratch.rename(target)
        except BaseException:
            shutil.rmtree(scratch)
            raise
    return max(target.iterdir(), key=lambda path: path.stat().st_size)


def _download(package: Package, folder: Path) -> None:
    wanted = f"{package.name}=={package.version}"
    commands = {
        "pypi": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", wanted],
        "npm": ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
        "debian": ["apt-get", "download", "-q", package.name],
        "debian-source": ["apt-get", "source", "--download-only", "-q", package.name],
    }
    done = subprocess.run(commands[package.registry], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise ValueError(f"{package.name} cannot be fetched: {said}")


def members(package: Package, archive: Path) -> Iterator[tuple[str, str, bytes]]:
    """(path, language, content) of each file to take, in the archive's order."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                if language := package.language_of(name):
                    yield name, language, wheel.read(name)
    elif archive.suffix == ".deb":
        unpack = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        with (
            subprocess.Popen(unpack, stdout=subprocess.PIPE) as process,
            tarfile.open(fileobj=process.stdout, mode="r|") as tar,
        ):
            yield from _tar_members(package, tar)
    else:
        with tarfile.open(archive) as tar:
            yield from _tar_members(package, tar)


def _tar_members(package: Package, tar: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    for member in tar:
        language = package.language_of(member.name) if member.isfile() else None
        if language and (stream := tar.extractfile(member)):
            yield member.name, language, stream.read()
