"""A whole replay against the real server process, with the scripted engine: counts, and not a byte wrong."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.models.gguf import check, read_metadata
from lsp_server.__main__ import main
from lsp_server.replay.bench import replay
from lsp_server.replay.editor import Manner
from lsp_server.replay.fim_copy import KEYS, names_sentinels, write_fim_copy
from lsp_server.replay.midword_peer import MidwordPeer
from lsp_server.replay.traces import make_trace
from tests.engine.gguf_files import gguf_bytes

SCRIPTED_ENGINE = Path(__file__).parents[1] / "scripted_engine.py"
SOURCE = "".join(f"def total_{n}(items):\n    return self.compute_total(items)\n\n\n" for n in range(30))


@pytest.mark.e2e
@pytest.mark.parametrize("is_patient", [True, False])
async def test_a_replay_ends_with_the_original_text(is_patient: bool) -> None:
    engine = shlex.join([sys.executable, str(SCRIPTED_ENGINE)])
    trace = make_trace("a.py", SOURCE, 60, 5)
    actions: list[None] = []
    found = await replay(
        lambda: MidwordPeer("midword", {"deadlineMs": 10_000}, engine),
        [trace],
        Manner(speed=10, is_patient=is_patient, ask_after_ms=5),
        lambda: actions.append(None),
    )
    assert found.text_is_whole and len(actions) == trace.actions
    everything = found.row("all")
    assert everything.stale == 0 and everything.shown_share > 0
    assert found.evaluations_per_completion == 1, "as the scripted engine says of each"
    assert everything.prompt_tokens <= 1
    if is_patient:
        assert everything.answered_share == 1 and everything.right_share > 0 and found.accepted_share > 0
    assert found.start_ms["initialize"] > 0 and found.peak_mb > 10


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", "replay", "--help"])
    assert end.value.code == 0 and "--peer" in capsys.readouterr().out


@pytest.mark.model
@pytest.mark.e2e
def test_the_command_measures_the_default_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source.py"
    source.write_text(SOURCE[:2000])
    page = tmp_path / "page.html"
    arguments = ["bench", "replay", str(source), "--keys", "15", "--speed", "5", "--html", str(page)]
    assert main([*arguments, "--patient", "--peer", "midword", "--peer", "naive"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    midword, naive = answer["peers"]
    assert midword["text_is_whole"] and naive["text_is_whole"]
    (typing,) = (row for row in midword["rows"] if row["name"] == "typing")
    assert typing["prompt_tokens"] <= 2 and typing["stale"] == 0
    assert answer["ratios"]["midword, naive"]["ms_per_completion"] > 0
    assert page.read_text().startswith("<!doctype html>")


def test_a_copy_names_sentinels_and_changes_nothing_else(tmp_path: Path) -> None:
    pairs: dict[str, tuple[int, Any]] = {
        "general.architecture": (8, "llama"),
        "tokenizer.ggml.tokens": (9, (8, ["a", "<s>", "<end>", "<one>", "<two>", "<three>", "b"])),
        "tokenizer.ggml.token_type": (9, (5, [1, 3, 3, 3, 3, 3, 1])),
        "tokenizer.ggml.bos_token_id": (4, 1),
    }
    tensors = {"one": (0, (3,), bytes(range(12))), "two": (0, (2, 2), bytes(range(16)))}
    source, target = tmp_path / "source.gguf", tmp_path / "target.gguf"
    source.write_bytes(gguf_bytes(pairs, tensors))
    write_fim_copy(source, target)
    assert names_sentinels(target) and not names_sentinels(source)
    added = {key: value for key, value in read_metadata(target).items() if key in KEYS}
    assert list(added.values()) == [3, 4, 5]
    before, after = check(source), check(target)
    assert before.tensors == after.tensors

    def weights(path: Path) -> bytes:
        return path.read_bytes()[-(16 + 32) :]

    assert weights(target) == weights(source)
