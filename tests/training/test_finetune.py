"""The model in torch says what llama.cpp says, learns, goes on after a stop, and comes out as a GGUF."""

# ruff: noqa: E402

from __future__ import annotations

import hashlib
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-torch` runs this")

from engine.backends.base import StopSignal
from engine.backends.llama_cpp import LlamaCppBackend
from engine.model import load_model
from engine.models.delta import add_delta
from engine.models.gguf import check, read_metadata
from engine.models.quantize import requantize
from engine.related import as_comments
from engine.tree import TokenTree
from lsp_server.related import excerpts_from
from tests.engine.backends.tiny_llama import write_tiny_llama
from tests.engine.models_of_tables import CODE
from training import cross_entropy, export, finetune
from training.export import Trained, losses, model_card, publish, write_delta, write_gguf
from training.finetune import Finetune, Plan, plot, run
from training.gather import SourceFile, write
from training.llama import from_gguf
from training.packing import Row, Rows
from training.sentinels import sentinels_of

TOKENS = list(range(5, 65))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "tiny.gguf"
    write_tiny_llama(path)
    return path


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def plan(base: Path, tmp_path: Path) -> Plan:
    data = tmp_path / "data"
    data.mkdir()
    files = [
        SourceFile("demo", f"{n}.py", "python", (CODE.decode() * 2).replace("area", f"a{n}"))
        for n in range(6)
    ]
    write(data / "train.jsonl.xz", files[:5])
    write(data / "heldout.jsonl.xz", files[5:])
    sources = {
        "package": "demo",
        "version": "1",
        "licence": "MIT",
        "heldout": False,
        "files": 5,
        "bytes": 900,
    }
    (data / "sources.json").write_text(json.dumps([sources]))
    return Plan(base, data, tmp_path / "run", tokens=16 * 2 * 256, row_tokens=256, rows=2, learning_rate=3e-3,
                lora=0, seed=0, workers=0, minutes=5.0)  # fmt: skip


def logits_of(path: Path, tokens: list[int]) -> np.ndarray:
    model = from_gguf(path)
    with torch.no_grad():
        hidden = model(torch.tensor([tokens]), torch.zeros(1, len(tokens), dtype=torch.long))
        return model.logits(hidden[0]).numpy()


def test_the_same_distributions_as_llama_cpp(base: Path) -> None:
    backend = LlamaCppBackend(base, context_length=256, threads=1)
    tree = TokenTree(tuple(TOKENS), tuple(range(-1, len(TOKENS) - 1)))
    wanted = backend.score((), tree, range(len(TOKENS)), StopSignal())
    backend.close()
    rows = torch.log_softmax(torch.from_numpy(logits_of(base, TOKENS)), -1).numpy()
    np.testing.assert_allclose(rows, np.array(wanted)[:, : rows.shape[1]], atol=2e-4)


def test_packed_examples_do_not_see_each_other(base: Path) -> None:
    model = from_gguf(base)
    numbers = torch.tensor([[0] * 30 + [1] * 30])
    with torch.no_grad():
        packed = model(torch.tensor([TOKENS]), numbers)[0, 30:]
        alone = model(torch.tensor([TOKENS[30:]]), torch.zeros(1, 30, dtype=torch.long))[0]
    torch.testing.assert_close(packed, alone, atol=1e-4, rtol=1e-4)


def test_the_loss_is_the_cross_entropy_of_the_learned_tokens(base: Path) -> None:
    model = from_gguf(base)
    numbers = torch.tensor([[0] * 30 + [1] * 30])
    weights = torch.zeros(1, 60)
    weights[0, 10:20] = 1
    weights[0, 30] = 1  # the first token of an example is predicted by nothing
    loss = model.loss(torch.tensor([TOKENS]), numbers, weights).item()
    rows = torch.log_softmax(torch.from_numpy(logits_of(base, TOKENS[:30])), -1)
    assert loss == pytest.approx(-np.mean([rows[i - 1, TOKENS[i]].item() for i in range(10, 20)]), rel=1e-4)


def test_no_logits_are_kept_and_the_gradients_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several parts, the last of them short, with and without a factor behind it."""
    monkeypatch.setattr(cross_entropy, "ROWS", 8)
    generator = torch.Generator().manual_seed(3)
    hidden, matrix = (torch.randn(n, 16, generator=generator, requires_grad=True) for n in (21, 40))
    wanted = torch.randint(0, 40, (21,), generator=generator)
    share = torch.rand(21, generator=generator)
    plain = torch.nn.functional.cross_entropy(hidden @ matrix.T, wanted, reduction="none")
    expected = (plain * share).sum() / share.sum()
    loss = cross_entropy.mean_cross_entropy(hidden, matrix, wanted, share)
    torch.testing.assert_close(loss, expected)
    for one, other in zip(
        torch.autograd.grad(3 * loss, (hidden, matrix)),
        torch.autograd.grad(3 * expected, (hidden, matrix)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="without a GPU nothing is compiled")
def test_the_compiled_model_learns_the_same_on_a_gpu(base: Path) -> None:
    tokens, numbers = torch.tensor([TOKENS * 8] * 2), torch.arange(480).expand(2, -1) // 100
    plain, fast = from_gguf(base), from_gguf(base).cuda()
    fast.compile(dynamic=False)
    expected = plain.loss(tokens, numbers, torch.ones(2, 480))
    expected.backward()
    with torch.autocast("cuda", torch.bfloat16):
        loss = fast.loss(tokens.cuda(), numbers.cuda(), torch.ones(2, 480).cuda())
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)
    for one, other in zip(fast.parameters(), plain.parameters(), strict=True):
        assert (one.grad.cpu() - other.grad).norm() < 0.05 * other.grad.norm()


def test_rows_are_full_reproducible_and_learn_no_sentinel(plan: Plan) -> None:
    sentinels = sentinels_of(read_metadata(plan.base))
    files = [SourceFile("demo", "a.py", "python", CODE.decode() * 3)]
    rows = [iter(Rows(files, plan.base, sentinels, 512, 3, 0.0)) for _ in range(2)]
    first = [next(rows[0]) for _ in range(5)]
    for one, other in zip(first, [next(rows[1]) for _ in range(5)], strict=True):
        assert all(map(torch.equal, one, other))
    filled = np.mean([(documents >= 0).float().mean().item() for _, documents, _ in first])
    assert filled > 0.8
    asked = torch.tensor([sentinels.prefix, sentinels.suffix, sentinels.middle])
    assert all(weights[torch.isin(tokens, asked)].sum() == 0 for tokens, _, weights in first)


def test_some_examples_show_excerpts_of_their_package(plan: Plan) -> None:
    sentinels = sentinels_of(read_metadata(plan.base))
    files = [SourceFile("demo", f"{name}.py", "python", CODE.decode() * 3) for name in "ab"]
    others = [SourceFile("other", "c.py", "python", CODE.decode())]
    rows = Rows([*files, *others], plan.base, sentinels, 2048, 3, 0.0)
    rng = random.Random(0)
    shown = [rows.related(file, rng)(CODE, b"") for file in files * 50]
    assert set(shown) == {b"", shown_above("b.py"), shown_above("a.py")}
    assert 0.15 < sum(map(bool, shown)) / len(shown) < 0.45
    assert not any(rows.related(others[0], rng)(CODE, b"") for _ in range(30))


def test_lines_below_are_shown_as_the_engine_shows_them(plan: Plan) -> None:
    rows = Rows([], plan.base, sentinels_of(read_metadata(plan.base)), 2048, 3, 0.0)
    above = rows.related(SourceFile("demo", "lib/a.js", "javascript", ""), random.Random(0))
    assert above(CODE, b"rest\none();\ntwo") == b"// lib/a.js:\n// one();\n\n"


def shown_above(name: str) -> bytes:
    return as_comments(excerpts_from(CODE, [(name, CODE * 3)]), "x.py")


@pytest.mark.parametrize("lora", [0, 4])
def test_it_learns_and_the_gguf_says_the_same(plan: Plan, lora: int) -> None:
    plan = replace(plan, lora=lora, learning_rate=3e-2 if lora else 3e-3)
    run(plan)
    plot(plan.out)
    assert (plan.out / "loss.html").read_text().count("<svg") == 1
    log = [json.loads(line) for line in (plan.out / "log.jsonl").read_text().splitlines()]
    assert log[-1]["heldout"] < log[0]["heldout"] - 0.3
    model = Trained(plan.base, plan.out).model()
    untouched = from_gguf(plan.base).blk[0].attn_q.weight
    assert not torch.equal(model.blk[0].attn_q.weight, untouched)
    out = plan.out / "tuned.gguf"
    write_gguf(model, plan.base, out)
    with torch.no_grad():
        hidden = model(torch.tensor([TOKENS]), torch.zeros(1, len(TOKENS), dtype=torch.long))
        wanted = model.logits(hidden[0]).numpy()
    np.testing.assert_allclose(logits_of(out, TOKENS), wanted, atol=0.05)
    assert read_metadata(out)["tokenizer.ggml.tokens"] == read_metadata(plan.base)["tokenizer.ggml.tokens"]
    assert load_model(str(out)).template.order == "psm"
    assert "| demo 1 | MIT | 5 |" in model_card(plan.data, Trained(plan.base, plan.out))
    delta, whole = plan.out / "delta.gguf", plan.out / "with_delta.gguf"
    write_delta(Trained(plan.base, plan.out), delta, "q8_0")
    requantize(plan.base, whole, "f16")
    add_delta(whole, delta)
    np.testing.assert_allclose(logits_of(whole, TOKENS), wanted, atol=0.05)


def test_a_killed_run_loses_little(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(finetune, "CURVE_POINTS", 1)

    class Killed(Exception):
        pass

    step = Finetune.train_step

    def until_the_fifth(self: Finetune, batch: Row) -> torch.Tensor:
        if self.step == 4:
            raise Killed
        return step(self, batch)

    monkeypatch.setattr(Finetune, "train_step", until_the_fifth)
    with pytest.raises(Killed):
        run(plan)
    assert Finetune(plan).step == 4


@pytest.mark.parametrize("share", ["0", "-1", "60"])
def test_a_share_that_is_none_is_refused(
    plan: Plan, share: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {"--base": plan.base, "--run": plan.out, "--out": plan.out / "out.gguf"}
    given = [str(part) for pair in paths.items() for part in pair]
    monkeypatch.setattr(sys, "argv", ["export", *given, "--share", share])
    assert export.main() == 2
    assert capsys.readouterr().err == f"export: --share {share} is not above 0 and at most 1\n"


@pytest.mark.parametrize("lora", [0, 4])
def test_a_share_of_the_change(plan: Plan, lora: int) -> None:
    plan = replace(plan, lora=lora, minutes=0.0)
    run(plan)
    started = Finetune(plan)
    with torch.no_grad():
        for parameter in started.trained:
            parameter += 0.01 * torch.randn_like(parameter)
    started.save()
    plain = from_gguf(plan.base).state_dict()
    whole, half = (Trained(plan.base, plan.out, share).model().state_dict() for share in (1.0, 0.5))
    assert Trained(plan.base, plan.out, 0.0).model().state_dict().keys() == plain.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(half[name], (tensor + whole[name]) / 2)
        assert lora or not torch.equal(half[name], tensor)


@pytest.fixture
def trained_a_little(plan: Plan) -> Plan:
    """A run of all weights that stopped after eight steps."""
    started = Finetune(plan)
    batches = started.batches("train", 0, 0)
    plan.out.mkdir()
    for _ in range(8):
        started.train_step(next(batches))
    started.save()
    return plan


def losses_of(plan: Plan, delta: Path) -> dict[str, tuple[float, float, float]]:
    """First words of the rows of `losses` → change/weights, error/weights, error/change."""
    rows = losses(Trained(plan.base, plan.out), delta).splitlines()[1:]
    return {row[:18].strip(): tuple(map(float, row[18:].split())) for row in rows}


@pytest.mark.parametrize(("weights", "most"), [("q8_0", 0.02), ("iq4_nl", 0.15), ("q4_k_m", 0.15)])
def test_a_full_delta_is_as_near_as_its_type(trained_a_little: Plan, weights: str, most: float) -> None:
    plan, delta = trained_a_little, trained_a_little.out / "delta.gguf"
    write_delta(Trained(plan.base, plan.out), delta, weights)
    made = check(delta)
    assert not any(name.startswith("tokenizer.") for name in made.metadata)
    assert {t.type for t in made.tensors if len(t.shape) == 1} == {"F32"}
    assert len({t.type for t in made.tensors if len(t.shape) == 2}) == 1, "no finer type for the embedding"
    found = losses_of(plan, delta)
    assert list(found) == ["all matrices", "token_embd", "blk", "output"]
    for change, error, share in found.values():
        assert 0 < share < most and 0.001 < change < 0.5 and error == pytest.approx(share * change, abs=2e-5)


def test_a_delta_is_published_in_pieces(trained_a_little: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, delta = trained_a_little, trained_a_little.out / "delta.gguf"
    write_delta(Trained(plan.base, plan.out), delta, "q4_0")
    whole = delta.read_bytes()
    delta.with_name("delta.gguf.3").touch()  # of an earlier export
    assert publish(delta).splitlines() == [
        'source = ["package:deltas/delta.gguf"]',
        f'sha256 = "{hashlib.sha256(whole).hexdigest()}"',
        f"size_bytes = {len(whole)}",
    ]
    monkeypatch.setattr(export, "PIECE_BYTES", len(whole) * 2 // 3)
    assert publish(delta).splitlines()[0] == (
        'source = ["package:deltas/delta.gguf.1", "package:deltas/delta.gguf.2"]'
    )
    pieces = [delta.with_name(f"delta.gguf.{number}").read_bytes() for number in (1, 2)]
    assert b"".join(pieces) == whole and max(map(len, pieces)) <= len(whole) * 2 // 3
    assert sorted(path.name for path in plan.out.glob("delta.gguf*")) == ["delta.gguf.1", "delta.gguf.2"]


def test_a_stopped_run_goes_on_where_it_was(plan: Plan) -> None:
    assert run(replace(plan, minutes=0.0)) == 0
    stopped = Finetune(plan)
    batches = stopped.batches("train", 0, 0)
    for _ in range(3):
        stopped.train_step(next(batches))
    stopped.save()
    again = Finetune(plan)
    assert again.step == 3
    batch = next(batches)
    assert torch.equal(stopped.train_step(batch), again.train_step(batch))
    for one, other in zip(stopped.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
