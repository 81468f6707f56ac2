"""The registry that is shipped, the user's own, and what is said about wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import InputError, ModelNotFound
from engine.models import names, registry
from engine.models.home import save_tuned
from engine.models.quantize import WEIGHT_TYPES
from engine.templates import SPELLINGS


def test_shipped_registry_is_valid(home: Path) -> None:
    found = registry.load()
    assert found.default == "smollm2-135m-fim"
    default, base = found.find(found.default), found.find("smollm2-135m")
    assert default.base == base.name and (default.weights, default.fim) == ("q8_0", "none")
    assert (base.shipped, base.weights, base.base) == ("q4_1", "q8_0", "")
    for entry in found.entries.values():
        assert entry.pinned or all(source.startswith("hf:") for source in entry.source)


def test_templates_are_those_of_the_engine() -> None:
    assert set(SPELLINGS) >= registry.FIM_TEMPLATES


def test_weight_types_are_those_of_llama_cpp() -> None:
    api = pytest.importorskip("llama_cpp.llama_cpp")
    for weights, number in WEIGHT_TYPES.items():
        prefix = "LLAMA_FTYPE_ALL_" if weights == "f32" else "LLAMA_FTYPE_MOSTLY_"
        assert getattr(api, prefix + weights.upper()) == number


def test_unknown_name_shows_the_nearest(home: Path) -> None:
    with pytest.raises(ModelNotFound, match="did you mean smollm2-135m"):
        registry.load().find("smollm-135m")
    with pytest.raises(ModelNotFound, match="midword models list"):
        registry.load().find("zzz")


def test_own_entries_and_default(home: Path, register: Callable[..., None]) -> None:
    (home / "registry.toml").write_text('default = "mine"\n')
    register("mine", b"abc", "file:somewhere.gguf", sha256="")
    found = registry.load()
    assert found.default == "mine" and not found.find("mine").pinned
    assert "smollm2-135m" in found.entries


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": ["ftp:x"]}, "unknown source 'ftp:x'"),
        ({"source": []}, "source is empty"),
        ({"sha256": "abc"}, "64 lower-case hex digits"),
        ({"weights": "q9"}, "unknown weight type 'q9'"),
        ({"fim": "guess"}, "unknown FIM template 'guess'"),
        ({"context": 0}, "should be positive"),
        ({"context": "many"}, "value of the wrong type"),
        ({"extra": 1}, "the keys should be"),
        ({"base": 7}, "base should be the name of a model"),
    ],
)
def test_wrong_entries(
    home: Path, register: Callable[..., None], changes: dict[str, object], message: str
) -> None:
    register("mine", b"abc", "file:x", **changes)
    with pytest.raises(InputError, match=message):
        registry.load()


@pytest.mark.parametrize("text", ["not toml at all", 'default = "nobody"'])
def test_wrong_files(home: Path, text: str) -> None:
    (home / "registry.toml").write_text(text)
    with pytest.raises(InputError, match=r"registry\.toml"):
        registry.load()


def test_weight_type_of_a_name(home: Path) -> None:
    assert names.find(None)[1] == "q8_0"
    assert names.find("smollm2-135m:F32")[1] == "f32"
    assert names.find("smollm2-135m:shipped")[1] == "q4_1"
    save_tuned("smollm2-135m-fim", {"weights": "q6_k"})
    assert names.find(None)[1] == "q6_k"
    save_tuned("smollm2-135m-fim", None)
    assert names.find(None)[1] == "q8_0"
    with pytest.raises(InputError, match="'q99' is not a weight type"):
        names.find("smollm2-135m:q99")


def test_a_damaged_pick_counts_as_none(home: Path) -> None:
    (home / "tuned.json").write_text("{")
    assert names.find(None)[1] == "q8_0"


def test_what_is_a_path(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2-135m").touch()
    (tmp_path / "weights.bin").touch()
    assert names.is_path("m.gguf") and names.is_path("./m") and names.is_path("weights.bin")
    assert not names.is_path("smollm2-135m") and not names.is_path("other")
