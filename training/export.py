"""From a finetuning run to a GGUF that the engine opens, and a model card.

    python -m training.export --base MODEL.gguf --run build/training/run --out FILE.gguf [--weights q8_0]
    python -m training.export --base MODEL.gguf --run build/training/run --out FILE.gguf --delta

The file has the base's metadata with the sentinels' ids added; the tensors are the run's, in F16, requantised
by llama.cpp to `--weights`. With `--delta` it has only what a low-rank run adds to the base, which
`engine.models.delta` adds again. Beside it goes `FILE.md`, the model card: data with licences, and the curve.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import MidwordError
from engine.models.gguf import read_metadata
from engine.models.quantize import WEIGHT_TYPES, requantize
from training.llama import Llama, from_gguf
from training.lora import LowRank, adapt, merge
from training.sentinels import KEYS, sentinels_of


def saved_state(run: Path) -> dict[str, Any]:
    """What the run has saved. Raises OSError."""
    state: dict[str, Any] = torch.load(run / "state.pt", map_location="cpu", weights_only=True)
    return state


def trained_model(base: Path, run: Path) -> Llama:
    """The run's model with low-rank additions merged. Raises OSError."""
    saved = saved_state(run)
    model = from_gguf(base)
    ranks = [tensor.shape[0] for name, tensor in saved["model"].items() if name.endswith(".a")]
    if ranks:
        adapt(model, ranks[0], sentinels_of(read_metadata(base)))
    model.load_state_dict(saved["model"])
    merge(model)
    return model


def write_gguf(model: Llama, base: Path, path: Path) -> None:
    """F16 matrices, F32 norms; the base's metadata and the sentinels' ids."""
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
    from gguf.constants import LlamaFileType

    writer, reader = GGUFWriter(path, "llama"), GGUFReader(base)
    own = {f"tokenizer.ggml.{key}_token_id" for key in KEYS} | {"general.architecture", "general.file_type"}
    for name, field in reader.fields.items():
        if name in own or name.startswith("GGUF."):
            continue
        array = field.types[0] == GGUFValueType.ARRAY
        writer.add_key_value(name, field.contents(), field.types[0], field.types[-1] if array else None)
    sentinels = sentinels_of(read_metadata(base))
    for key, token in zip(KEYS, (sentinels.prefix, sentinels.suffix, sentinels.middle), strict=True):
        writer.add_uint32(f"tokenizer.ggml.{key}_token_id", token)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    for name, tensor in model.state_dict().items():
        flat = tensor.ndim == 1
        kind = GGMLQuantizationType.F32 if flat else GGMLQuantizationType.F16
        writer.add_tensor(name, tensor.numpy().astype(np.float32 if flat else np.float16), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_delta(base: Path, run: Path, path: Path) -> None:
    """The run's low-rank additions, and its new rows of the embedding, as a delta of the base's matrices.

    Raises OSError, ValueError if the run trained all weights.
    """
    from gguf import GGUFWriter

    saved = saved_state(run)["model"]
    names = [name.removesuffix(".a") for name in saved if name.endswith(".a")]
    if not names:
        raise ValueError("the run trained all weights, so there is no delta of low rank")
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
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _changed_rows(change: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """A (rank, width) and B (rows, rank) with `change` (rows, width) = alpha / rank · B A."""
    (rows,) = change.any(dim=1).nonzero(as_tuple=True)
    b = torch.zeros(len(change), len(rows))
    b[rows, torch.arange(len(rows))] = 1
    return change[rows] * (len(rows) / alpha), b


def model_card(data: Path, run: Path, base: Path) -> str:
    """Markdown: what it was made of, and the last figures of the run."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    heldout = [entry for entry in log if entry["heldout"] is not None]
    rows = [
        f"| {p['package']} {p['version']} | {p['licence']} | {p['files']} | {p['bytes'] / 1e6:.1f} |"
        for p in json.loads((data / "sources.json").read_text())
        if not p["heldout"]
    ]
    return "\n".join(
        [
            f"# {base.stem}, taught to fill in the middle", "",
            f"Trained on {log[-1]['tokens']:,} tokens. Loss on packages never trained on, in nats a token:"
            f" {heldout[0]['heldout']:.4f} before, {heldout[-1]['heldout']:.4f} after.", "",
            "| package | licence | files | MB |", "| --- | --- | --- | --- |", *rows, "",
            "Made by `python -m training.gather`, `.finetune` and `.export`.", "",
        ]
    )  # fmt: skip


def export(base: Path, run: Path, path: Path, weights: str) -> None:
    """The whole model. Raises OSError, BackendError."""
    model = trained_model(base, run)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        exact = Path(scratch) / "f16.gguf"
        write_gguf(model, base, exact)
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
    parser.add_argument(
        "--delta", action="store_true", help="write only what a low-rank run adds to the base"
    )
    options = parser.parse_args()
    try:
        if options.delta:
            write_delta(options.base, options.run, options.out)
        else:
            export(options.base, options.run, options.out, options.weights)
        options.out.with_suffix(".md").write_text(model_card(options.data, options.run, options.base))
    except (OSError, ValueError, MidwordError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
