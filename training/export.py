"""From a finetuning run to a GGUF that the engine opens, and a model card.

    python -m training.export --base MODEL.gguf --run build/training/run --out FILE.gguf [--weights q8_0]

The file has the base's metadata with the sentinels' ids added; the tensors are the run's, in F16, requantised
by llama.cpp to `--weights`. Beside it goes `FILE.md`, the model card: data with licences, and the curve.
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

from engine.errors import MidwordError
from engine.models.gguf import read_metadata
from engine.models.quantize import WEIGHT_TYPES, requantize
from training.llama import Llama, from_gguf
from training.lora import adapt, merge
from training.sentinels import KEYS, sentinels_of


def trained_model(base: Path, run: Path) -> Llama:
    """The run's model with low-rank additions merged. Raises OSError."""
    saved: dict[str, Any] = torch.load(run / "state.pt", map_location="cpu", weights_only=True)
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


def main() -> int:
    """Returns 0, or 2 after one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("build/training"))
    parser.add_argument("--run", type=Path, default=Path("build/training/run"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", choices=sorted(WEIGHT_TYPES), default="q8_0")
    options = parser.parse_args()
    try:
        model = trained_model(options.base, options.run)
        with tempfile.TemporaryDirectory(dir=options.out.parent) as scratch:
            exact = Path(scratch) / "f16.gguf"
            write_gguf(model, options.base, exact)
            requantize(exact, options.out, options.weights)
        options.out.with_suffix(".md").write_text(model_card(options.data, options.run, options.base))
    except (OSError, ValueError, MidwordError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
