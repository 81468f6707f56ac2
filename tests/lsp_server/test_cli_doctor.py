"""`midword doctor`: sentences from facts, exit codes, and nothing downloaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine import kernels
from engine.backends import native_weights
from engine.backends.native import NativeBackend
from engine.errors import BackendError, DownloadError
from engine.model import open_gguf
from engine.models import gguf
from lsp_server.__main__ import main
from lsp_server.cli import doctor, machine
from lsp_server.cli.advice import Facts, ModelFacts, Speed, advise
from lsp_server.cli.machine import Memory, Processor
from tests.engine.backends.tiny_llama import CONTEXT, write_tiny_folder, write_tiny_llama

WELL = Facts(
    midword="1",
    python="3.11",
    system="Linux",
    packages=dict.fromkeys((*machine.ESSENTIAL, *machine.OPTIONAL), "1"),
    processor=Processor("CPU", processors=4, allowed=4, load=0.1, features=("AVX", "AVX2", "FMA")),
    memory=Memory(16_000_000_000, 8_000_000_000),
    build=("AVX", "AVX2", "FMA", "OPENMP"),
    model=ModelFacts("toy", "/models/toy.gguf", "q8_0", "q8_0", True, 100_000_000, "native"),
    speed=Speed(load_ms=500, prefill_tokens_per_s=400, decode_ms=10, batch8_ms=30),
    native_kernels=True,
    instructions=("avx2",),
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDWORD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _with_processor(**changes: object) -> Facts:
    return replace(WELL, processor=replace(WELL.processor, **changes))  # type: ignore[arg-type]


def _with_model(**changes: object) -> Facts:
    assert WELL.model is not None
    return replace(WELL, model=replace(WELL.model, **changes))  # type: ignore[arg-type]


def test_all_well_needs_no_advice() -> None:
    assert advise(WELL) == []
    assert WELL.speed is not None and WELL.speed.request_ms == 32_000 / 400 + 3 * 30 + 16 * 10


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (_with_model(path=""), "midword models pull toy"),
        (_with_model(tuned=None), "midword models tune toy"),
        (replace(WELL, memory=Memory(16_000_000_000, 300_000_000)), "300 MB are free, about 600 MB"),
        (replace(_with_processor(features=("AVX",)), build=()), "has no AVX2"),
        (replace(WELL, build=("AVX", "FMA")), "built without AVX2"),
        (_with_processor(features=("AVX", "AVX2")), "built for FMA, which this processor lacks"),
        (_with_processor(allowed=1.5), "Only 1.5 of 4 processors"),
        (_with_processor(load=3.0), "busy (load 3.0)"),
        (replace(WELL, native_kernels=False), "run in NumPy"),
        (replace(WELL, speed=Speed(500, 40, 80, 200)), "about 2.7 s here"),
    ],
)
def test_one_thing_amiss_gives_one_sentence(facts: Facts, said: str) -> None:
    (sentence,) = advise(facts)
    assert said in sentence and sentence.endswith(".")


def test_an_own_file_is_not_to_be_tuned() -> None:
    assert advise(_with_model(registered=False, tuned=None)) == []


def test_without_a_model_it_says_how_to_get_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "midword models pull smollm2-135m" in shown and "not pulled" in shown
    assert "llama-cpp-python" in shown and "tokens/s" not in shown
    assert not home.exists()


def test_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--quick", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problem"] is None and report["speed"] is None
    assert report["model"]["name"] == "smollm2-135m-fim" and report["model"]["path"] == ""
    assert report["model"]["backend"] is None, "that shows in the file, which is not here"
    assert report["native_kernels"] == (kernels.NATIVE is not None)
    assert report["packages"]["pygls"] and report["processor"]["processors"] >= 1
    assert "models pull" in report["advice"][0]


def test_a_missing_package_is_the_problem(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine.packages() | {"pygls": None}
    monkeypatch.setattr(machine, "packages", lambda: here)
    assert main(["doctor", "--quick"]) == 2
    captured = capsys.readouterr()
    assert captured.err == ("midword: pygls is not installed; run `pip install --force-reinstall midword`\n")
    assert "pygls (not installed)" in " ".join(captured.out.split())


def test_a_llama_cpp_that_does_not_load_is_the_problem(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise BackendError("llama-cpp-python cannot be loaded (no libgomp)")

    monkeypatch.setattr(doctor, "llama_cpp", broken)
    assert main(["doctor", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "midword: llama-cpp-python cannot be loaded (no libgomp)\n"
    assert json.loads(captured.out)["problem"] == "llama-cpp-python cannot be loaded (no libgomp)"


def test_a_folder_of_safetensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_folder(tmp_path / "mine")
    assert main(["doctor", "--quick", "--json", "--model", f"{tmp_path / 'mine'}:int8"]) == 0
    model = json.loads(capsys.readouterr().out)["model"]
    assert (model["name"], model["weights"], model["registered"]) == ("mine", "int8", False)
    assert (model["backend"], model["why_not_native"]) == ("torch", None)
    assert model["size_bytes"] == (tmp_path / "mine/model.safetensors").stat().st_size
    (tmp_path / "mine/model.safetensors").rename(tmp_path / "mine/model.bin")
    assert main(["doctor", "--quick", "--model", str(tmp_path / "mine")]) == 2
    assert "a pickle that could run code" in capsys.readouterr().err


@pytest.mark.parametrize("eight_bits", [True, False])
def test_which_backend_evaluates_a_file_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], eight_bits: bool
) -> None:
    """What it says is what a model that is opened runs on."""
    path = tmp_path / "tiny.gguf"
    write_tiny_llama(path, eight_bits=eight_bits)
    assert main(["doctor", "--quick", "--json", "--model", str(path)]) == 0
    found = json.loads(capsys.readouterr().out)["model"]
    assert found["why_not_native"] == native_weights.why_not(gguf.check(path))
    opened = open_gguf(path, name="tiny", context_length=CONTEXT).backend
    assert (found["backend"] == "native") == isinstance(opened, NativeBackend)
    assert (found["backend"] == "llama.cpp") == bool(found["why_not_native"])
    opened.close()
    assert main(["doctor", "--quick", "--model", str(path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    expected = f"backend {found['backend']}"
    assert expected in shown
    if not eight_bits:
        assert f"{expected}, not the native one: " in shown
    elif found["backend"] == "native":
        assert f"{expected} with {native_weights.known_instructions()[0]}" in shown


def test_a_file_that_is_no_model_is_the_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no.gguf").write_bytes(b"text")
    assert main(["doctor", "--quick", "--model", str(tmp_path / "no.gguf")]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "is not a GGUF file" in sentence


@pytest.mark.parametrize(("text", "allowed"), [("150000 100000", 1.5), ("max 100000", 4.0), ("?", 4.0)])
def test_a_containers_quota(tmp_path: Path, text: str, allowed: float) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert machine._quota(4, tmp_path / "cpu.max") == allowed


@pytest.mark.model
def test_the_speed_of_the_default_model(capsys: pytest.CaptureFixture[str]) -> None:
    from engine.models import store

    try:
        store.resolve()
    except DownloadError as error:
        pytest.skip(str(error))
    assert main(["doctor", "--json"]) == 0
    speed = json.loads(capsys.readouterr().out)["speed"]
    assert speed["prefill_tokens_per_s"] > 1 and 0 < speed["decode_ms"] < speed["request_ms"]
