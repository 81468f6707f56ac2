"""From a finetuning run to a GGUF that the engine opens, and a model card.

    python -m training.export --base MODEL.gguf --run build/training/run --out FILE.gguf [--weights q8_0]
    python -m training.export --base MODEL.gguf --run build/training/run --out FILE.gguf --delta

The file has the base's metadata with the sentinels' ids added; the tensors are the run's, in F16, requantised
by llama.cpp to `--weights`. With `--delta` it has only what the run adds to the base, which
`engine.models.delta` adds again: the factors of a low-rank run in F16, or the differences of all weights in
`--weights`, cut into pieces if it is large. What the delta loses, and its lines for the registry, are
printed. Beside the file goes `FILE.md`, the model card: data with licences, and the curve.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import MidwordError
from engine.models.delta import SCALE_KEY, add_delta
from engine.models.files import sha256_of
from engine.models.gguf import read_metadata
from engine.models.quantize import WEIGHT_TYPES, requantize
from training.llama import Llama, from_gguf
from training.lora import LowRank, adapt, merge
from training.sentinels import KEYS, sentinels_of

DELTA_SCALE = 1024.0
"""What differences are multiplied by. Those of weights are at most a few units, F16 ends at 65504."""
PIECE_BYTES = 48_000_000
"""Longest file of a delta; common hosts warn from 50 MB."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run made of its base, or only `share` of the way there: often the better model, since it keeps
    more of what the base knew beyond the training text (Wortsman et al. 2022)."""

    base: Path
    run: Path
    share: float = 1.0

    def state(self) -> dict[str, Tensor]:
        """Tensors by name, the factors of low-rank additions among them. Raises OSError."""
        saved: dict[str, Tensor] = torch.load(self.run / "state.pt", map_location="cpu", weights_only=True)[
            "model"
        ]
        plain = from_gguf(self.base).state_dict()
        return {
            name: plain[name].lerp(tensor, self.share) if name in plain
            else tensor * self.share if name.endswith(".b") else tensor
            for name, tensor in saved.items()
        }  # fmt: skip

    def model(self) -> Llama:
        """With low-rank additions merged. Raises OSError."""
        state, model = self.state(), from_gguf(self.base)
        ranks = [tensor.shape[0] for name, tensor in state.items() if name.endswith(".a")]
        if ranks:
            adapt(model, ranks[0], sentinels_of(read_metadata(self.base)))
        model.load_state_dict(state)
        merge(model)
        return model


def write_gguf(model: Llama, base: Path, path: Path) -> None:
    """F16 matrices, F32 norms; the base's metadata and the sentinels' ids."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    own = {f"tokenizer.ggml.{key}_token_id" for key in KEYS}
    _copy_metadata(base, writer, lambda name: name not in own)
    sentinels = sentinels_of(read_metadata(base))
    for key, token in zip(KEYS, (sentinels.prefix, sentinels.suffix, sentinels.middle), strict=True):
        writer.add_uint32(f"tokenizer.ggml.{key}_token_id", token)
    _write_llama(writer, model.state_dict())


def _copy_metadata(base: Path, writer: Any, wanted: Callable[[str], bool]) -> None:
    """What `base` says under the names that are `wanted`, save what the writer says itself."""
    from gguf import GGUFReader, GGUFValueType

    for name, field in GGUFReader(base).fields.items():
        if name in ("general.architecture", "general.file_type") or name.startswith("GGUF."):
            continue
        array = field.types[0] == GGUFValueType.ARRAY
        if wanted(name):
            writer.add_key_value(name, field.contents(), field.types[0], field.types[-1] if array else None)


def _write_llama(writer: Any, tensors: Mapping[str, Tensor]) -> None:
    """Matrices in F16, vectors in F32."""
    from gguf import GGMLQuantizationType
    from gguf.constants import LlamaFileType

    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    for name, tensor in tensors.items():
        flat = tensor.ndim == 1
        kind = GGMLQuantizationType.F32 if flat else GGMLQuantizationType.F16
        writer.add_tensor(name, tensor.numpy().astype(np.float32 if flat else np.float16), raw_dtype=kind)
    _finish(writer)


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_delta(trained: Trained, path: Path, weights: str) -> None:
    """What the run adds to the base: low rank as it was trained, or the differences of all weights.

    Raises OSError, BackendError.
    """
    state = trained.state()
    if any(name.endswith(".a") for name in state):
        _write_low_rank(trained.base, state, path)
    else:
        _write_differences(trained.base, state, path, weights)


def _write_differences(base: Path, trained: Mapping[str, Tensor], path: Path, weights: str) -> None:
    """Of matrices the differences from the base's as F16, which is what they are added to."""
    from gguf import GGUFWriter

    plain = from_gguf(base).state_dict()
    changes = {
        name: DELTA_SCALE * (trained[name] - (tensor if tensor.ndim == 1 else tensor.half().float()))
        for name, tensor in plain.items()
    }
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        exact = Path(scratch) / "f16.gguf"
        writer = GGUFWriter(exact, "llama")
        _copy_metadata(base, writer, lambda name: name.startswith("llama."))
        writer.add_float32(SCALE_KEY, DELTA_SCALE)
        _write_llama(writer, changes)
        requantize(exact, path, weights, pure=True)


def _write_low_rank(base: Path, saved: Mapping[str, Tensor], path: Path) -> None:
    """The factors of the additions, and the new rows of the embedding."""
    from gguf import GGUFWriter

    names = [name.removesuffix(".a") for name in saved if name.endswith(".a")]
    parts = {f"{name}.weight": (saved[f"{name}.a"], saved[f"{name}.b"]) for name in names}
    alpha = LowRank.SCALE * len(saved[f"{names[0]}.a"])
    writer = GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    embedding = from_gguf(base).token_embd.weight.detach()
    parts["token_embd.weight"] = _changed_rows(saved["token_embd.weight"] - embedding, alpha)
    for name, (a, b) in parts.items():
        writer.add_tensor(f"{name}.lora_a", a.numpy().astype(np.float16))
        writer.add_tensor(f"{name}.lora_b", b.numpy().astype(np.float16))
    _finish(writer)


def _changed_rows(change: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """A (rank, width) and B (rows, rank) with `change` (rows, width) = alpha / rank · B A."""
    (rows,) = change.any(dim=1).nonzero(as_tuple=True)
    b = torch.zeros(len(change), len(rows))
    b[rows, torch.arange(len(rows))] = 1
    return change[rows] * (len(rows) / alpha), b


def losses(trained: Trained, delta: Path) -> str:
    """A table: how much the matrices changed, and how far base and `delta` miss what was trained."""
    with tempfile.TemporaryDirectory(dir=delta.parent) as scratch:
        whole = Path(scratch) / "whole.gguf"
        requantize(trained.base, whole, "f16")
        add_delta(whole, delta)
        made = from_gguf(whole).state_dict()
    plain, wanted = from_gguf(trained.base).state_dict(), trained.model().state_dict()
    lines = [f"{'root mean squares':18} {'change/weights':>14} {'error/weights':>14} {'error/change':>14}"]
    for part in dict.fromkeys(["", *(name.split(".")[0] for name in plain)]):
        names = [name for name in plain if name.startswith(part) and plain[name].ndim == 2]
        squares = [
            sum(float((one[name] - other[name]).double().square().sum()) for name in names)
            for one, other in ((wanted, plain), (made, wanted))
        ]
        weights = sum(float(wanted[name].double().square().sum()) for name in names)
        if names:
            change, error = squares
            ratios = (change / weights, error / weights, error / change if change else 0)
            lines.append(f"{part or 'all matrices':18}" + "".join(f" {ratio**0.5:14.6f}" for ratio in ratios))
    return "\n".join(lines)


def cut(path: Path) -> list[Path]:
    """`path`, or if it is longer than PIECE_BYTES about equal pieces `NAME.1`, `NAME.2`, … in its place."""
    for old in path.parent.glob(f"{path.name}.[0-9]*"):
        old.unlink()
    whole = path.read_bytes()
    count = -(-len(whole) // PIECE_BYTES)
    if count == 1:
        return [path]
    step = -(-len(whole) // count)
    pieces = [path.with_name(f"{path.name}.{number + 1}") for number in range(count)]
    for number, piece in enumerate(pieces):
        piece.write_bytes(whole[number * step : (number + 1) * step])
    path.unlink()
    return pieces


def publish(path: Path) -> str:
    """Cuts the delta into pieces where it is large. Returns its lines in `engine/models/registry.toml`."""
    checksum, size = sha256_of(path), path.stat().st_size
    sources = [f"package:deltas/{piece.name}" for piece in cut(path)]
    return f'source = {json.dumps(sources)}\nsha256 = "{checksum}"\nsize_bytes = {size}'


def model_card(data: Path, trained: Trained) -> str:
    """Markdown: what it was made of, and the last figures of the run."""
    log = [json.loads(line) for line in (trained.run / "log.jsonl").read_text().splitlines()]
    heldout = [entry for entry in log if entry["heldout"] is not None]
    rows = [
        f"| {p['package']} {p['version']} | {p['licence']} | {p['files']} | {p['bytes'] / 1e6:.1f} |"
        for p in json.loads((data / "sources.json").read_text())
        if not p["heldout"]
    ]
    return "\n".join(
        [
            f"# {trained.base.stem}, taught to fill in the middle", "",
            f"Trained on {log[-1]['tokens']:,} tokens. Loss on packages never trained on, in nats a token:"
            f" {heldout[0]['heldout']:.4f} before, {heldout[-1]['heldout']:.4f} after.",
            *([f"{trained.share:.0%} of the change is taken."] if trained.share != 1 else []), "",
            "| package | licence | files | MB |", "| --- | --- | --- | --- |", *rows, "",
            "Made by `python -m training.gather`, `.finetune` and `.export`.", "",
        ]
    )  # fmt: skip


def export(trained: Trained, path: Path, weights: str) -> None:
    """The whole model. Raises OSError, BackendError."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        exact = Path(scratch) / "f16.gguf"
        write_gguf(trained.model(), trained.base, exact)
        requantize(exact, path, weights)


def main() -> int:
    """Returns 0, or 2 after one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("build/training"))
    parser.add_argument("--run", type=Path, default=Path("build/training/run"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", choices=sorted(WEIGHT_TYPES), default="q8_0")
    parser.add_argument("--share", type=float, default=1.0, help="of the change that is taken (default: 1)")
    parser.add_argument("--delta", action="store_true", help="write only what the run adds to the base")
    options = parser.parse_args()
    trained = Trained(options.base, options.run, options.share)
    try:
        if not 0 < options.share <= 1:
            raise ValueError(f"--share {options.share:g} is not above 0 and at most 1")
        if options.delta:
            write_delta(trained, options.out, options.weights)
            print(losses(trained, options.out), publish(options.out), sep="\n\n")
        else:
            export(trained, options.out, options.weights)
        options.out.with_suffix(".md").write_text(model_card(options.data, trained))
    except (OSError, ValueError, MidwordError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
