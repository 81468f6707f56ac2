"""Finetune a llama GGUF to fill in the middle; stops after `--minutes` and goes on when run again.

    python -m training.finetune --data build/training --base MODEL.gguf [--lora 16] [--minutes 9]

Writes into `--out`: `state.pt` (everything needed to go on), `log.jsonl` (a line a report), `loss.html`.
With a GPU the whole model is trained in bf16, with the loss on all text and most of it on the middle;
`--lora RANK` trains low-rank additions with the loss on the middle, which is what a CPU can do.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from engine.models.gguf import read_metadata
from lsp_server.report import Section, figure, page, write_page
from training.examples import Sentinels
from training.gather import read
from training.llama import Llama, from_gguf
from training.lora import adapt
from training.packing import Row, Rows
from training.sentinels import sentinels_of

WARM_UP_SHARE = 0.02
REPORT_SECONDS = 10.0
HELDOUT_ROWS = 32
CURVE_POINTS = 8
"""How often held-out rows are looked at on the way to the plan's tokens."""
SAVE_SECONDS = 120.0
"""Most that is lost if a run is killed; saving the state of 135M parameters takes some three seconds."""
CONTEXT_WEIGHT = 0.3
"""Of a token of the context in the loss, where the whole model is trained; one of the middle has 1."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained, and for how long. `tokens` counts all tokens of all rows."""

    base: Path
    data: Path
    out: Path
    tokens: int
    row_tokens: int
    rows: int
    learning_rate: float
    lora: int
    seed: int
    workers: int
    minutes: float

    @property
    def steps(self) -> int:
        """Steps until `tokens` have been seen."""
        return max(1, self.tokens // (self.row_tokens * self.rows))


class Finetune:
    """One run: model, optimiser, step; all of it goes into `state.pt` and comes back."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.step = plan, 0
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(plan.seed)
        self.sentinels: Sentinels = sentinels_of(read_metadata(plan.base))
        self.model: Llama = from_gguf(plan.base)
        trained = list(self.model.parameters())
        if plan.lora:
            trained = adapt(self.model, plan.lora, self.sentinels)
        self.model.to(self.device)
        if self.device.type == "cuda":
            self.model.compile(dynamic=False)
        self.optimizer = torch.optim.AdamW(
            trained,
            betas=(0.9, 0.95),
            weight_decay=0.0,  # it would pull what is seldom trained away from the base
            fused=self.device.type == "cuda",
        )
        self.trained: list[nn.Parameter] = trained
        self.state = plan.out / "state.pt"
        if self.state.is_file():
            saved = torch.load(self.state, map_location=self.device, weights_only=True)
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.step = int(saved["step"])

    def rate(self) -> float:
        """Linear warm-up, then linear to nothing (Bergsma et al. 2025)."""
        warm = max(1, int(self.plan.steps * WARM_UP_SHARE))
        if self.step < warm:
            return self.plan.learning_rate * (self.step + 1) / warm
        done = (self.step - warm) / max(1, self.plan.steps - warm)
        return self.plan.learning_rate * (1 - done)

    def train_step(self, batch: Row) -> Tensor:
        """One update; the loss in nats a token."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        loss = self._loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.detach()

    def heldout(self, batches: list[Row]) -> float:
        """Mean loss in nats a token of the middles in rows of held-out packages."""
        with torch.set_grad_enabled(self.device.type == "cuda"):  # without gradients it would compile anew
            return sum(float(self._loss(batch).detach()) for batch in batches) / len(batches)

    def _loss(self, batch: Row) -> Tensor:
        tokens, documents, weights = (part.to(self.device, non_blocking=True) for part in batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            return self.model.loss(tokens, documents, weights)

    def save(self) -> None:
        """Write `state.pt`, whole or not at all."""
        part = self.state.with_suffix(".part")
        torch.save(
            {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step},
            part,
        )
        part.replace(self.state)

    def batches(self, split: str, seed: int, workers: int, context_weight: float = 0.0) -> Iterator[Row]:
        """Endless batches of `rows` rows of a split of the data."""
        files = read(self.plan.data / f"{split}.jsonl.xz")
        rows = Rows(files, self.plan.base, self.sentinels, self.plan.row_tokens, seed, context_weight)
        return iter(
            DataLoader(rows, self.plan.rows, num_workers=workers, pin_memory=self.device.type == "cuda")
        )


def run(plan: Plan) -> int:
    """Train until the plan's tokens or minutes are used up; returns the step reached."""
    started = time.monotonic()
    plan.out.mkdir(parents=True, exist_ok=True)
    finetune = Finetune(plan)
    weight = 0.0 if plan.lora else CONTEXT_WEIGHT
    batches = finetune.batches("train", plan.seed + finetune.step, plan.workers, weight)
    test = finetune.batches("heldout", 0, 0)
    heldout = [next(test) for _ in range(max(1, HELDOUT_ROWS // plan.rows))]
    if finetune.step == 0:
        _report(plan, 0, None, finetune.heldout(heldout), 0.0)
    since, losses, first = time.monotonic(), [], finetune.step
    saved = since
    while finetune.step < plan.steps and time.monotonic() - started < plan.minutes * 60:
        losses.append(finetune.train_step(next(batches)))
        if time.monotonic() - since > REPORT_SECONDS or finetune.step == plan.steps:
            speed = (finetune.step - first) * plan.rows * plan.row_tokens / (time.monotonic() - since)
            _report(plan, finetune.step, float(torch.stack(losses).mean()), None, speed)
            since, losses, first = time.monotonic(), [], finetune.step
        if finetune.step % max(1, plan.steps // CURVE_POINTS) == 0:
            _report(plan, finetune.step, None, finetune.heldout(heldout), 0.0)
        if time.monotonic() - saved > SAVE_SECONDS:
            finetune.save()
            saved = time.monotonic()
    finetune.save()
    _report(plan, finetune.step, None, finetune.heldout(heldout), 0.0)
    return finetune.step


def _report(plan: Plan, step: int, loss: float | None, heldout: float | None, speed: float) -> None:
    entry = {"step": step, "steps": plan.steps, "tokens": step * plan.rows * plan.row_tokens,
             "loss": loss, "heldout": heldout, "tokens_per_second": round(speed)}  # fmt: skip
    with (plan.out / "log.jsonl").open("a") as log:
        log.write(json.dumps(entry) + "\n")
    said = f"loss {loss:.4f}" if loss is not None else f"held-out loss {heldout:.4f}"
    print(f"step {step}/{plan.steps}  {said}  {speed:,.0f} tokens/s", flush=True)


def plot(out: Path) -> None:
    """`loss.html` from `log.jsonl`."""
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]

    def draw(axes: Any) -> None:
        for name, style in (("loss", "-"), ("heldout", "o")):
            seen = [(entry["tokens"] / 1e6, entry[name]) for entry in entries if entry[name] is not None]
            axes.plot(*zip(*seen, strict=True), style, label={"loss": "training"}.get(name, "held out"))
        axes.set_xlabel("million tokens")
        axes.set_ylabel("nats a token")
        axes.legend()

    last = f"{entries[-1]['tokens']:,} tokens; held-out loss {entries[-1]['heldout']:.4f} nats a token"
    curve = Section("Loss", figure(draw, "Loss while training, and on rows of packages never trained on"))
    write_page(out / "loss.html", page("Finetuning", last, [curve]))


def main() -> int:
    """Returns 0, or 2 after one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m training.finetune", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", type=Path, default=Path("build/training"), help="folder that gather wrote")
    parser.add_argument("--base", type=Path, required=True, help="GGUF of architecture llama")
    parser.add_argument("--out", type=Path, default=Path("build/training/run"))
    parser.add_argument("--tokens", type=float, default=3e8, help="tokens to train on (default: 3e8)")
    parser.add_argument("--row-tokens", type=int, default=2048, help="tokens of a packed row")
    parser.add_argument("--rows", type=int, default=32, help="rows of a step (32 of 2048: 45 GB of a GPU)")
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--lora", type=int, default=0, metavar="RANK", help="0 trains the whole model")
    parser.add_argument("--seed", type=int, default=0)
    spare = max(1, (os.cpu_count() or 1) - 2)
    parser.add_argument("--workers", type=int, default=spare, help="processes that make examples")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop and save after so long")
    options = vars(parser.parse_args())
    try:
        plan = Plan(**options | {"tokens": int(options["tokens"])})
        run(plan)
        plot(plan.out)
    except (OSError, ValueError) as error:
        print(f"finetune: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
