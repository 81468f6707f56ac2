"""Weights that are read while the engine is imported: the same model, where that is known to be right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.backends.base import StopSignal
from engine.backends.native_weights import known_instructions
from engine.begun import Begun, begin
from engine.errors import ModelCorrupt
from engine.model import Model, load_model
from engine.tree import ROOT, TokenTree
from tests.engine.backends.tiny_llama import CONTEXT, write_tiny_llama

OPENED: dict[str, Any] = {"kv": "auto", "backend": "auto", "context_length": CONTEXT, "kv_budget_mb": 1}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not known_instructions():
        pytest.skip("no compiler, or no AVX2")
    monkeypatch.setenv("MIDWORD_HOME", str(tmp_path / "home"))
    path = tmp_path / "tiny.gguf"
    write_tiny_llama(path, eight_bits=True)
    return path


def row(model: Model) -> list[float]:
    (found,) = model.backend.score([5, 6, 7], TokenTree((), ()), [ROOT], StopSignal())
    model.backend.close()
    return np.asarray(found).tolist()


def test_what_was_begun_is_the_same_model(path: Path) -> None:
    expected = row(load_model(str(path), **OPENED))
    begun = begin(str(path), **OPENED)
    assert isinstance(begun, Begun)
    assert row(load_model(str(path), **OPENED, begun=begun)) == expected


def test_nothing_is_begun_for_a_file_that_is_new_or_for_another_backend(path: Path) -> None:
    assert begin(str(path), **OPENED) is None, "never opened"
    load_model(str(path), **OPENED).backend.close()
    assert begin(str(path), **(OPENED | {"backend": "llama.cpp"})) is None
    assert begin(str(path), **(OPENED | {"kv": "f32"})) is None
    write_tiny_llama(path)
    load_model(str(path), **OPENED).backend.close()
    assert begin(str(path), **OPENED) is None, "F32 weights are llama.cpp's"


@pytest.mark.parametrize("name", ["nothing.gguf", "no-such-model", None])
def test_what_is_not_here_is_not_begun_and_not_fetched(path: Path, name: str | None) -> None:
    assert begin(name, **OPENED) is None
    assert not (path.parent / "home" / "models").exists()


def test_an_error_of_the_weights_comes_when_they_are_wanted(path: Path) -> None:
    load_model(str(path), **OPENED).backend.close()
    begun = begin(str(path), **OPENED)
    assert begun is not None
    begun.loading._error = ModelCorrupt("as found in the thread")
    with pytest.raises(ModelCorrupt, match="as found in the thread"):
        load_model(str(path), **OPENED, begun=begun)


def test_it_begins_before_numpy_is_imported() -> None:
    code = "import sys, engine.begun, engine.choices; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)
