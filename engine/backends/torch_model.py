"""A transformers model as a function of one `Step`. Imported only when a model is opened."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from engine.backends.base import StopSignal
from engine.backends.torch_attention import CachedAttention, Step, layer_windows
from engine.backends.torch_int8 import to_int8
from engine.backends.torch_kv import LayerShape, Tensor
from engine.errors import BackendError, ModelCorrupt, ModelUnsupported

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
_NOT_REPLACED = (
    "the attention of this architecture cannot be replaced by one over token trees;"
    " choose another model, or its GGUF file"
)
_numbers = itertools.count()


class TorchModel:
    """Weights on a device, with attention that goes through a `CachedAttention`."""

    def __init__(self, name: str, config: Any, make: Callable[[str], Any], device: Any) -> None:
        """`make` gets the name of an attention implementation and returns a module that uses it, on `device`.

        `config` is the module's (text) config. Raises ModelUnsupported if its attention cannot be replaced.
        """
        self.name, self.device = name, device
        self._attention_name = f"midword_{next(_numbers)}"
        self.attention = CachedAttention(layer_windows(config))
        self.trained_length = int(getattr(config, "max_position_embeddings", 0) or 2**30)
        ALL_ATTENTION_FUNCTIONS[self._attention_name] = self.attention
        self._model = make(self._attention_name)
        self.dtype = self._model.dtype
        self.vocab_size = self._measure()

    def _measure(self) -> int:
        """Lets each layer tell its shapes. Returns the columns of a row. Raises ModelUnsupported."""
        tokens = torch.zeros(1, dtype=torch.int64, device=self.device)
        try:
            with torch.inference_mode():
                return int(self._forward(tokens, tokens, tokens).shape[-1])
        except (TypeError, ValueError, AttributeError) as error:
            raise ModelUnsupported(f"{_NOT_REPLACED} ({_first_line(error)})") from None

    @property
    def shapes(self) -> list[LayerShape]:
        """What each layer keeps of a token. Raises ModelUnsupported if a layer keeps nothing."""
        found = self.attention.shapes
        if sorted(found) != list(range(len(found))) or not found:
            raise ModelUnsupported(_NOT_REPLACED)
        return [found[layer] for layer in sorted(found)]

    def logits(self, step: Step, stop: StopSignal) -> Tensor:
        """(k, vocab_size) logits after the `asked` tokens. Raises Cancelled between layers."""
        with torch.inference_mode():
            self.attention.begin(step, stop)
            return self._forward(step.tokens, step.positions, step.asked)

    def _forward(self, tokens: Tensor, positions: Tensor, asked: Tensor) -> Tensor:
        unused_mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.device)
        out = self._model(
            input_ids=tokens[None], position_ids=positions[None], attention_mask=unused_mask,
            use_cache=False, logits_to_keep=asked,
        )  # fmt: skip
        return out.logits[0]

    def plain_logits(self, tokens: list[int]) -> Tensor:
        """(vocab_size,) logits after `tokens` by the architecture's own attention, without any cache."""
        self._model.set_attn_implementation("eager")
        try:
            with torch.inference_mode():
                return self._model(torch.tensor([tokens], device=self.device), use_cache=False).logits[0, -1]
        finally:
            self._model.set_attn_implementation(self._attention_name)

    def close(self) -> None:
        """Frees the weights. Idempotent."""
        if self._attention_name in ALL_ATTENTION_FUNCTIONS:
            del ALL_ATTENTION_FUNCTIONS[self._attention_name]
        self._model = None


def read_model(folder: Path, weights: str | None, device: Any) -> TorchModel:
    """The safetensors of `folder` as `weights`: "f32", "bf16", "f16", "int8", None for what suits the device.

    Raises ModelUnsupported, ModelCorrupt, BackendError if memory runs out.
    """
    usual = "f32" if device.type == "cpu" else "bf16"

    def make(attention: str) -> Any:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=DTYPES.get(weights or usual, DTYPES[usual]), attn_implementation=attention,
            local_files_only=True, use_safetensors=True, trust_remote_code=False,
        )  # fmt: skip
        if weights == "int8":
            to_int8(model)
        return model.eval().to(device)

    config = _config(folder)
    with _reported(folder, device):
        return TorchModel(str(folder), config, make, device)


def _config(folder: Path) -> Any:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelUnsupported(f"transformers does not know this model: {_first_line(error)}") from None
    return config.get_text_config(decoder=True)


@contextmanager
def _reported(folder: Path, device: Any) -> Iterator[None]:
    """What goes wrong while a model is loaded, as one sentence."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise ModelCorrupt(f"torch cannot load {folder}: {_first_line(error)}") from None
        raise out_of_memory(device) from None
    except (OSError, ValueError, ImportError, TypeError) as error:
        raise ModelUnsupported(f"torch cannot run {folder}: {_first_line(error)}") from None
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise ModelCorrupt(f"{folder} has a damaged file: {_first_line(error)}; fetch it again") from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch found no room on its device."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def out_of_memory(device: Any) -> BackendError:
    """The sentence with advice."""
    return BackendError(
        f"the {device.type} device has not enough memory for this model; take smaller weights (…:int8),"
        " a shorter --context or a smaller model, or close what else uses the device"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
