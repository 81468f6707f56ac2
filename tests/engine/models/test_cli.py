"""`midword models …` as a user types it: output, exit codes, one sentence per error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lsp_server.__main__ import main


def test_a_models_life(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "path", "tiny"]) == 2
    assert capsys.readouterr().err == "midword: tiny has not been pulled; run `midword models pull tiny`\n"
    assert main(["models", "pull", "tiny"]) == 0
    path = capsys.readouterr().out.strip()
    assert main(["models", "path", "tiny"]) == 0
    assert capsys.readouterr().out.strip() == path
    assert main(["models", "verify"]) == 0
    assert "checksum as registered" in capsys.readouterr().out
    Path(path).write_bytes(b"GGUF")
    assert main(["models", "verify", "tiny"]) == 2
    assert "is truncated" in capsys.readouterr().err
    assert main(["models", "remove", "tiny"]) == 0
    assert main(["models", "remove", "tiny"]) == 2


def test_verify_with_nothing_pulled(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify"]) == 0
    assert "no model has been pulled" in capsys.readouterr().out


def test_list(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "tiny"]) == 0
    capsys.readouterr()
    assert main(["models", "list"]) == 0
    shown = capsys.readouterr().out
    for text in ("tiny", "pulled: f32", "smollm2-135m", "not pulled", "qwen2.5-coder-7b*", "* unpinned"):
        assert text in shown
    assert main(["models", "list", "--json"]) == 0
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert models["tiny"]["pulled"] == ["f32"] and models["tiny"]["fim"] == "none"


def test_damage_gives_one_sentence_and_exit_code_2(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.write_bytes(b"x" * tiny.stat().st_size)
    assert main(["models", "pull", "tiny"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("midword: tiny: ") and "is not a GGUF file" in last
