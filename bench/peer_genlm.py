"""genlm-bytes at its own work, as a process of its environment: `bench/genlm.py` starts it.

Reads one JSON object from stdin: `gguf` (path), `threads`, `beam`, `prune`, `cases` (list of {tokens, text}:
token ids before the text, and the text in hexadecimal). Writes one to stdout: for each case `rows` (a
distribution of 256 byte values before each byte of the text), `seconds` for all its bytes, `calls` of the
model, and the same two figures for as many bytes decoded greedily. The keys and values of `tokens` are cached
when a clock starts, and nothing else.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from genlm.backend.llm.hf import AsyncTransformer
from genlm.bytes import BeamParams, ByteBeamState
from genlm.bytes.byte_lm.lm_state import StatefulTokenizedLM
from transformers import AutoModelForCausalLM, AutoTokenizer


def load(gguf: Path) -> AsyncTransformer:
    """The GGUF's weights in F32, as transformers reads them."""
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    return AsyncTransformer(model, AutoTokenizer.from_pretrained(**where), batch_size=20, timeout=0.001)


async def initial(llm: AsyncTransformer, blank: ByteBeamState, tokens: list[int]) -> ByteBeamState:
    """The beam behind `tokens`, which are resident; nothing else is."""
    llm.clear_cache()
    llm.cache_kv(tokens)
    (state,) = blank.states
    start = copy.copy(state)
    start.lm_state, start._mass = StatefulTokenizedLM.initial(llm, tokens), None
    return ByteBeamState([await start.materialize()], blank.params)


async def forced(beam: ByteBeamState, text: bytes) -> list[np.ndarray]:
    """The distribution before each byte of `text`."""
    rows = []
    for byte in text:
        beam = beam.prune()
        rows.append(np.exp((await beam.logp_next()).ps[:256]))
        beam = await (beam << byte)
    return rows


async def greedy(beam: ByteBeamState, steps: int) -> None:
    """The likeliest byte, `steps` times."""
    for _ in range(steps):
        beam = beam.prune()
        beam = await (beam << int(np.argmax((await beam.logp_next()).ps[:256])))


async def run_case(llm: AsyncTransformer, blank: ByteBeamState, case: dict[str, Any]) -> dict[str, Any]:
    """The distributions along one text, and what they and as many greedy bytes took."""
    text = bytes.fromhex(case["text"])
    found: dict[str, Any] = {}
    for name, work in (
        ("", lambda beam: forced(beam, text)),
        ("greedy_", lambda beam: greedy(beam, len(text))),
    ):
        beam = await initial(llm, blank, case["tokens"])
        calls, started = _calls(llm), time.perf_counter()
        rows = await work(beam)
        found[name + "seconds"] = time.perf_counter() - started
        found[name + "calls"] = _calls(llm) - calls
        if rows:
            found["rows"] = [row.tolist() for row in rows]
    return found


def _calls(llm: AsyncTransformer) -> int:
    return int(getattr(llm, "forwards", 0))


def _count_forwards(llm: AsyncTransformer) -> None:
    forward = llm.model.forward

    def counted(*arguments: Any, **named: Any) -> Any:
        llm.forwards = _calls(llm) + 1
        return forward(*arguments, **named)

    llm.model.forward = counted


async def main() -> None:
    """Answers the task on stdin."""
    task = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print is not the answer
    torch.set_num_threads(task["threads"])
    llm = load(Path(task["gguf"]))
    _count_forwards(llm)
    blank = await ByteBeamState.initial(llm, BeamParams(K=task["beam"], prune_threshold=task["prune"]))
    cases = [await run_case(llm, blank, case) for case in task["cases"]]
    json.dump({"cases": cases}, out)
    out.flush()


asyncio.run(main())
