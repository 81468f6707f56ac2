"""`midword complete` and `next-bytes` as processes: bad input is one sentence, good input an answer."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

SOURCE = b"def total(numbers):\n    result = 0\n    for number in numbers:\n        result += num\n"
CURSOR = ["--line", "4", "--column", "22"]


def midword(*arguments: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-P", "-m", "lsp_server", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s)


def sentence(*arguments: str | Path) -> str:
    """What a refused command says: exit code 2, nothing on stdout, one line of text on stderr."""
    answer = midword(*arguments)
    assert answer.returncode == 2, answer
    assert answer.stdout == "" and "Traceback" not in answer.stderr
    (line,) = filter(None, answer.stderr.splitlines())
    assert line.startswith("midword: ")
    return line


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "total.py"
    path.write_bytes(SOURCE)
    return path


def test_a_missing_file(tmp_path: Path) -> None:
    assert "No such file" in sentence("complete", tmp_path / "none.py", *CURSOR)
    assert "No such file" in sentence("next-bytes", "--prefix-file", tmp_path / "none")


def test_a_directory(tmp_path: Path) -> None:
    assert "is a directory" in sentence("complete", tmp_path, *CURSOR)
    assert "is a directory" in sentence("next-bytes", "--prefix-file", tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\x7fELF\x02\x01\x00" * 50, "binary file"), (b"caf\xe9 = 1\n" * 5, "not UTF-8 text (byte 3 is 0xe9)")],
)
def test_a_file_that_is_not_text(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.out").write_bytes(content)
    assert said in sentence("complete", tmp_path / "a.out", *CURSOR)
    assert (tmp_path / "a.out").read_bytes() == content


@pytest.mark.parametrize(
    ("line", "column", "said"),
    [
        ("99", "1", "line 99 is outside the file, which has 5 lines"),
        ("0", "1", "line 0 is outside"),
        ("-1", "1", "line -1 is outside"),
        ("1", "21", "column 21 is outside line 1, whose columns are 1 to 20"),
        ("1", "0", "column 0 is outside line 1"),
        ("5", "2", "column 2 is outside line 5, whose columns are 1 to 1"),
    ],
)
def test_a_cursor_outside_the_file(source: Path, line: str, column: str, said: str) -> None:
    assert said in sentence("complete", source, "--line", line, "--column", column)
    assert source.read_bytes() == SOURCE


def test_a_file_of_20_megabytes(tmp_path: Path) -> None:
    large = tmp_path / "large.py"
    large.write_bytes(b"x = 1\n" * (20_000_000 // 6))
    assert "is 20.0 MB, at most 8.4 MB are read" in sentence("complete", large, *CURSOR)
    assert "is 20.0 MB" in sentence("next-bytes", "--prefix-file", large)
    assert large.stat().st_size == 19_999_998


def test_an_unknown_model(source: Path) -> None:
    said = sentence("complete", source, *CURSOR, "--model", "smollm2-135")
    assert "there is no model named 'smollm2-135'" in said and "did you mean smollm2-135m" in said
    assert "no file /no/where.gguf" in sentence("complete", source, *CURSOR, "--model", "/no/where.gguf")


def test_a_model_file_cut_in_half(source: Path, tmp_path: Path) -> None:
    """A header that promises 1 MiB of weights, and half of them."""
    name = b"token_embd.weight"
    header = struct.pack("<4sIQQ", b"GGUF", 3, 1, 0) + struct.pack("<Q", len(name)) + name
    header += struct.pack("<IQIQ", 1, 2**18, 0, 0)
    model = tmp_path / "half.gguf"
    model.write_bytes(header + bytes(-len(header) % 32) + bytes(2**19))
    kept = model.read_bytes()
    assert "is truncated: 524,384 bytes found, 1,048,672 expected" in sentence(
        "complete", source, *CURSOR, "--model", model
    )
    assert model.read_bytes() == kept and source.read_bytes() == SOURCE


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"not a model at all, but long enough", b"GGUF" + b"\xff" * 60]
)
def test_a_model_file_that_is_none(source: Path, tmp_path: Path, content: bytes) -> None:
    model = tmp_path / "bad.gguf"
    model.write_bytes(content)
    assert str(model) in sentence("complete", source, *CURSOR, "--model", model)


@pytest.mark.parametrize(
    "arguments", [[], ["unknown"], ["complete"], ["complete", "x.py", "--line", "two", "--column", "1"]]
)
def test_a_command_line_that_makes_no_sense(arguments: list[str]) -> None:
    answer = midword(*arguments)
    assert answer.returncode == 2 and answer.stdout == ""
    assert "Traceback" not in answer.stderr and answer.stderr.splitlines()[-1].startswith("midword")


# -- with the default model ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def default_model() -> Path:
    """The default model's file; skips where it cannot be pulled."""
    answer = midword("models", "pull", timeout_s=600)
    if answer.returncode:
        pytest.skip(answer.stderr.strip().splitlines()[-1])
    return Path(answer.stdout.strip())


@pytest.mark.model
def test_a_completion(default_model: Path, source: Path) -> None:
    answer = midword("complete", source, *CURSOR)
    assert answer.returncode == 0 and answer.stdout.startswith("ber")
    assert source.read_bytes() == SOURCE


WAREHOUSE = (
    "class Warehouse:\n    def __init__(self, name, bays):\n        self.bays = bays\n\n"
    "    def reserve_pallets(self, order, count):\n        return self.bays[:count]\n"
)
PLAN = 'def plan(order, bays):\n    warehouse = Warehouse("north", bays)\n    return warehouse.res\n'


@pytest.mark.model
def test_names_from_below_are_known(default_model: Path, tmp_path: Path) -> None:
    here, cursor = tmp_path / "plan.py", ("--line", "3", "--column", "25")
    here.write_text(PLAN)
    assert not midword("complete", here, *cursor).stdout.startswith("erve_pallets(order")
    here.write_text(f"{PLAN}\n\n{WAREHOUSE}")
    assert midword("complete", here, *cursor).stdout.startswith("erve_pallets(order")


@pytest.mark.model
def test_names_of_another_file_are_known(default_model: Path, tmp_path: Path) -> None:
    other, here = tmp_path / "stock.py", tmp_path / "plan.py"
    other.write_text(WAREHOUSE)
    here.write_text(f"from stock import Warehouse\n\n\n{PLAN}")
    cursor = ("--line", "6", "--column", "25")
    assert not midword("complete", here, *cursor).stdout.startswith("erve_pallets(order")
    assert midword("complete", here, *cursor, "--related", other).stdout.startswith("erve_pallets(order")
    assert "cannot read" in sentence("complete", here, *cursor, "--related", tmp_path / "none.py")
    secret = tmp_path / ".env"
    secret.write_text("KEY=1\n")
    assert "secret" in sentence("complete", here, *cursor, "--related", secret)


@pytest.mark.model
def test_a_completion_as_json(default_model: Path, source: Path) -> None:
    answer = midword("complete", source, *CURSOR, "--json", "--alternatives", "3")
    report = json.loads(answer.stdout)
    assert report["text"] == report["completions"][0]["text"] and report["text"].startswith("ber")
    assert len({c["text"] for c in report["completions"]}) == len(report["completions"]) <= 3
    assert report["range"]["start"] == report["range"]["end"] == {"line": 4, "column": 22}
    assert report["certificate"]["law"] == "canonical" and report["certificate"]["covers"] >= 1
    assert report["timings"]["total_ms"] > 0 and report["tokens"]["model_evaluations"] >= 1


@pytest.mark.model
def test_a_request_that_makes_no_sense(default_model: Path, source: Path) -> None:
    assert "max_tokens is 0, expected 1 to 1024" in sentence("complete", source, *CURSOR, "--max-tokens", "0")


@pytest.mark.model
def test_the_distribution_of_the_next_byte(default_model: Path, tmp_path: Path) -> None:
    (tmp_path / "prefix").write_bytes(SOURCE.rstrip())
    answer = midword("next-bytes", "--prefix-file", tmp_path / "prefix", "--json")
    report = json.loads(answer.stdout)
    assert max(report["bytes"], key=report["bytes"].__getitem__) == str(ord("b"))
    assert sum(report["bytes"].values()) + report["stop"] + report["non_canonical"] == pytest.approx(1)


@pytest.mark.model
def test_the_default_model_cut_in_half(default_model: Path, source: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.gguf"
    whole_bytes = default_model.stat().st_size
    with default_model.open("rb") as whole:
        half.write_bytes(whole.read(whole_bytes // 2))
    said = sentence("complete", source, *CURSOR, "--model", half)
    assert "is truncated" in said and f"{whole_bytes // 2:,} bytes found" in said
    assert default_model.stat().st_size == whole_bytes
