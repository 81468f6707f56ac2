"""Folders of Hugging Face's form: what is read of them, and what is refused. No torch here."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BackendError, ModelCorrupt, ModelNotFound, ModelUnsupported
from engine.model import load_model, open_folder
from engine.models.gguf import read_metadata
from engine.models.hf_folder import check_folder, end_texts, find_folder, folder_metadata
from engine.templates import separator_token, stop_tokens, template_from_metadata
from engine.tokenizers.gguf_family import tokenizer_from_metadata
from tests.engine.backends.tiny_llama import write_tiny_folder, write_tiny_llama
from tests.engine.models_of_tables import CODE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_folder(tmp_path / "tiny")
    return tmp_path / "tiny"


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_a_folder_says_what_the_gguf_of_the_same_model_says(folder: Path, tmp_path: Path) -> None:
    write_tiny_llama(tmp_path / "tiny.gguf")
    ours, theirs = folder_metadata(folder), read_metadata(tmp_path / "tiny.gguf")
    assert template_from_metadata(ours, None) == template_from_metadata(theirs, None)
    assert template_from_metadata(ours, None).order == "psm"
    assert stop_tokens(ours, None) == stop_tokens(theirs, None)
    assert separator_token(ours) == separator_token(theirs)
    encode = tokenizer_from_metadata(ours).encode
    assert encode(CODE) == tokenizer_from_metadata(theirs).encode(CODE)


def test_a_start_token_is_what_the_tokenizers_template_says(folder: Path) -> None:
    assert "tokenizer.ggml.bos_token_id" not in folder_metadata(folder)
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<EOT>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    }
    processor = {"type": "Sequence", "processors": [{"type": "ByteLevel"}, template]}
    edit(folder / "tokenizer.json", lambda data: data | {"post_processor": processor})
    metadata = folder_metadata(folder)
    tokens = metadata["tokenizer.ggml.tokens"]
    assert tokens[metadata["tokenizer.ggml.bos_token_id"]] == "<EOT>"
    assert separator_token(metadata) == tokens.index("<EOT>")


def test_all_end_tokens_end_a_completion(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 6]}))
    metadata = folder_metadata(folder)
    assert {5, 6} <= set(stop_tokens(metadata, None, end_texts(folder, metadata)))


def test_folders_are_found_by_path_and_by_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_folder(str(folder)) == (folder, None)
    assert find_folder(f"{folder}:int8") == (folder, "int8")
    assert find_folder(f"{folder}:q4_0") is None
    assert find_folder("smollm2-135m") is None
    monkeypatch.setenv("MIDWORD_HOME", str(tmp_path / "home"))
    shutil.copytree(folder, tmp_path / "home/models/mine")
    assert find_folder("mine:bf16") == (tmp_path / "home/models/mine", "bf16")


def test_pickles_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelUnsupported, match=r"pytorch_model\.bin, a pickle that could run code"):
        check_folder(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", b"", "not a whole safetensors file"),
        ("model.safetensors", b"\xff" * 100, "not a whole safetensors file"),
        ("model.safetensors", b"\x02" + bytes(7) + b"[]", "damaged table"),
        ("tokenizer.json", b"{", r"is not a tokenizer\.json"),
        ("generation_config.json", b"[", "is damaged: a JSON object was expected"),
        ("model.safetensors.index.json", b"{}", "does not say which files"),
    ],
)
def test_damaged_files_are_named(folder: Path, name: str, content: bytes, said: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ModelCorrupt, match=said):
        load_model(str(folder))


def test_a_file_cut_short_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelCorrupt, match=r"bytes, [\d,]+ expected; fetch it again"):
        check_folder(folder)


def test_missing_files_are_named(folder: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    with pytest.raises(ModelNotFound, match=r"has no model\.safetensors"):
        check_folder(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelCorrupt, match=r"lacks model-2\.safetensors"):
        check_folder(folder)
    shutil.copy(folder / "model-1.safetensors", folder / "model-2.safetensors")
    check_folder(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelUnsupported, match=r"has no tokenizer\.json"):
        open_folder(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelNotFound, match=r"has no config\.json"):
        load_model(str(folder))


def test_without_torch_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("engine.backends.torch")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(BackendError, match=r'pip install "midword\[torch\]"'):
        load_model(str(folder))
