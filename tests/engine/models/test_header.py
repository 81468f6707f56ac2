"""What is kept of a file's header says the same as the file, and belongs to that file only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine import model as opening
from engine.choices import GGUF_BACKENDS
from engine.errors import ModelCorrupt
from engine.model import Model, open_gguf
from engine.models.gguf import Gguf, check
from engine.models.header import read_header
from tests.engine.backends.tiny_llama import CONTEXT, write_tiny_llama


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDWORD_HOME", str(tmp_path / "home"))
    path = tmp_path / "tiny.gguf"
    write_tiny_llama(path, eight_bits=True)
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose vocabulary was read."""
    made: list[Path] = []

    def counted(path: Path) -> Gguf:
        made.append(path)
        return check(path)

    monkeypatch.setattr(opening, "check", counted)
    return made


def open_it(path: Path, family: str | None = None, backend: str = "auto") -> Model:
    model = open_gguf(path, name="tiny", family=family, context_length=CONTEXT, backend=backend)
    model.backend.close()
    return model


@pytest.mark.parametrize("backend", GGUF_BACKENDS[::2])
def test_a_kept_header_says_what_the_file_says(path: Path, reads: list[Path], backend: str) -> None:
    first, again = open_it(path, backend=backend), open_it(path, backend=backend)
    assert reads == [path]
    assert (again.template, again.stop_tokens, again.separator) == (
        first.template,
        first.stop_tokens,
        first.separator,
    )
    assert again.tokenizer.vocab.token_bytes == first.tokenizer.vocab.token_bytes
    assert again.tokenizer.encode(b"def f(x):") == first.tokenizer.encode(b"def f(x):")
    assert type(again.backend) is type(first.backend)


def test_it_holds_no_vocabulary(path: Path) -> None:
    open_it(path)
    header = read_header(path, None, ())
    assert header is not None and header.gguf.tensors == check(path).tensors
    assert not [
        key for key, value in header.gguf.metadata.items() if not isinstance(value, str | int | float)
    ]


def test_another_file_family_or_time_is_another_header(path: Path, reads: list[Path]) -> None:
    open_it(path)
    assert read_header(path, "none", ()) is None and read_header(path, None, ("</s>",)) is None
    os.utime(path, ns=(1, 1))
    open_it(path)
    write_tiny_llama(path)
    open_it(path)
    assert reads == [path] * 3


def test_a_file_that_was_cut_off_since_is_damaged(path: Path) -> None:
    open_it(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelCorrupt, match="is truncated"):
        open_it(path)
    path.unlink()
    assert read_header(path, None, ()) is None


@pytest.mark.parametrize("suffix", ["header", "tables"])
def test_what_others_could_have_written_is_not_read(path: Path, reads: list[Path], suffix: str) -> None:
    open_it(path)
    for kept in (path.parent / "home" / "tables").glob(f"*.{suffix}"):
        kept.chmod(0o666)
    open_it(path)
    assert len(reads) == 2
