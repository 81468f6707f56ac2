"""`.midwordignore` against git itself, and what happens to a file that is wrong."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from lsp_server.ignore_files import MOST_BYTES, NAME, IgnoreFiles

FOLDERS = ["", "a", "a/b", "c", "a/b/c"]
NAMES = ["x.py", "y.log", "b", "#z", "k"]
LINES = [
    "*.py", "*.log", "x.py", "b", "b/", "/b", "a/", "/a/", "a/b", "a/*", "a/**", "**/b", "**/x.py", "c/", "*",
    "!*.py", "!x.py", "!b", "!a/b/", "!/a/b/x.py", "!c/", "\\#z", "# z", "", "k?", "?", "[xy].*", "a/**/c",
    "/*", "!/a",
    "a/*/", "**/", "!a/**", "!*/", "?/", "!**/c/",
]  # fmt: skip


def reason(path: Path) -> str | None:
    found = IgnoreFiles().reason(PurePosixPath(path))
    return found.name if found else None


def git(root: Path, *arguments: str, given: str = "") -> str:
    command = ["git", "-c", "core.excludesFile=/dev/null", *arguments]
    answer = subprocess.run(command, cwd=root, input=given, capture_output=True, text=True, timeout=60)
    assert answer.returncode in (0, 1), answer.stderr
    return answer.stdout


@pytest.mark.parametrize("seed", range(40))
def test_the_same_files_are_kept_out_as_by_git(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    git(tmp_path, "init", "-q")
    for folder in FOLDERS:
        (tmp_path / folder).mkdir(exist_ok=True)
        if rng.random() < 0.6:
            lines = "\n".join(rng.sample(LINES, rng.randint(1, 5)))
            for name in (".gitignore", NAME):
                (tmp_path / folder / name).write_text(lines)
    paths = [
        f"{folder}/{name}".lstrip("/") for folder in FOLDERS for name in NAMES if f"{folder}/{name}" != "a/b"
    ]
    paths = [path for path in paths if path not in FOLDERS]
    by_git = set(
        git(tmp_path, "check-ignore", "--no-index", "--stdin", given="\n".join(paths)).split("\n")
    ) - {""}
    ours = {path for path in paths if reason(tmp_path / path)}
    assert ours == by_git, f"seed {seed}"


@pytest.mark.parametrize(
    "content",
    [b"*.log\n[a\n", b"\xff\xfe", b"!", b"x" * (MOST_BYTES + 1)],
    ids=["line", "binary", "!", "long"],
)
def test_a_file_that_is_wrong_keeps_out_all_below_it(tmp_path: Path, content: bytes) -> None:
    below = tmp_path / "project" / "src"
    below.mkdir(parents=True)
    (tmp_path / "project" / NAME).write_bytes(content)
    (below / NAME).write_text("!*\n")
    assert reason(below / "a.py") == reason(tmp_path / "project" / "a.py") == "midwordignore-error"
    assert reason(tmp_path / "a.py") is None


def test_the_error_says_where_and_what(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("a\n\n[b\n")
    found = IgnoreFiles().reason(PurePosixPath(tmp_path / "x"))
    assert found is not None and found.is_fault
    assert f"{tmp_path}/{NAME}: line 3" in found.sentence and "'[b'" in found.sentence


def test_a_folder_of_that_name_and_a_file_nobody_may_read(tmp_path: Path) -> None:
    (tmp_path / "a" / NAME).mkdir(parents=True)
    assert reason(tmp_path / "a" / "x") == "midwordignore-error"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / NAME).symlink_to(tmp_path / "b" / NAME)
    assert reason(tmp_path / "b" / "x") == "midwordignore-error"


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    files, path = IgnoreFiles(), PurePosixPath(tmp_path / "x.py")
    file = tmp_path / NAME
    assert files.reason(path) is None
    file.write_text("*.py")
    assert files.reason(path) is not None
    stamp = file.stat()
    file.write_text("*.md")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert files.reason(path) is None
    file.unlink()
    assert files.reason(path) is None


def test_a_file_below_a_path_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    assert reason(tmp_path / "a" / "b" / "c.py") is None
