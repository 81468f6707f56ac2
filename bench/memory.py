"""How much memory the engine takes, step by step, with the default model.

    python -m bench.memory [--context 2048] [--kv f32] [--model NAME]

Prints megabytes after each step as Linux counts them (`/proc/self/status`): resident and of no file, resident
and of files (the weights are), and the peak. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from engine.__main__ import SERVED_CONTEXT_TOKENS
from engine.backends.base import StopSignal
from engine.completer import Completer
from engine.model import load_model
from engine.types import Request

FIELDS = {"RssAnon": "not of files", "RssFile": "of files", "VmHWM": "peak"}
PLACES = (22_000, 31_500, 40_500, 49_500)
PROMPT_BYTES = 1500


def resident_mb() -> dict[str, int]:
    """Megabytes by kind."""
    lines = (line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {FIELDS[name]: int(value.split()[0]) // 1024 for name, value in lines if name in FIELDS}


def main() -> None:
    """Loads, completes, and prints what each step took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--kv", default="auto")
    parser.add_argument("--context", type=int, default=SERVED_CONTEXT_TOKENS)
    options = parser.parse_args()
    steps = {"imported": resident_mb()}
    completer = Completer(load_model(options.model, kv=options.kv, context_length=options.context))
    steps["loaded"] = resident_mb()
    text = Path(argparse.__file__).read_bytes()
    for number, place in enumerate(PLACES, 1):
        request = Request(text[place - PROMPT_BYTES : place], max_tokens=24, max_lines=9)
        completer.complete(request, StopSignal())
        steps[f"{number} completions"] = resident_mb()
    for step, found in steps.items():
        print(f"{step:15}", ", ".join(f"{kind} {megabytes}" for kind, megabytes in found.items()))
    print(json.dumps({"context": options.context, "kv": options.kv, "mb": steps}))


if __name__ == "__main__":
    main()
