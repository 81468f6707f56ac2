"""A fake engine for tests: the real wire protocol, scripted answers, a log of what it did.

    scripted_engine.py [--step-ms MS] [--log FILE] [serve …]

A completion runs in steps, each sleeping `--step-ms`; between steps it looks at cancellations, as the
real engine does between model evaluations. What it answers depends on how the prefix ends, see SCRIPT.
The log gets one line per event: `complete ID`, `step ID N`, `cancelled ID`, `result ID`, `pid PID`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any

from engine.protocol import pack, read_message, result_to_wire
from engine.stop import within_lines
from engine.types import Certificate, Completion, Result, Usage

DEFAULT_STEPS = 2
SLOW_STEPS = 100
SCRIPT: list[tuple[bytes, list[bytes]]] = [
    (b"self.comp", [b"ute_total(items)"]),
    (b"self.com", [b"pute_total(items)"]),
    (b"self.co", [b"mpute_total(items)"]),
    (b"self.c", [b"ompute_total(items)"]),
    (b"x.hel", [b"lo()"]),
    (b"call(", [b"a, b)"]),
    (b"two", [b" one", b" other"]),
    (b"blank", [b"  \n"]),
    (b"caf\xc3\xa9 = ", ["'😀 crème'".encode()]),
    (b"SLOW", [b"slow answer"]),
    (b"count(", [b"one, two, three)"]),
    (b"if x:", [b"\n    return total"]),
    (b"return total", [b"\n    more"]),
    (b"either ", [b"left", b"right", b"neither"]),
    (b"nothing", []),
]


class Engine:
    def __init__(self, options: argparse.Namespace) -> None:
        self.step_s = options.step_ms / 1000
        self.log_file: Path | None = options.log
        self.refusal: str = options.refuse
        self.loading: str = options.loading
        self.held_until: Path | None = options.log.with_suffix(".go") if options.hold else None
        self.cancelled: set[int] = set()
        self.work: queue.Queue[dict[str, Any]] = queue.Queue()
        self.write_lock = threading.Lock()
        self.log(f"pid {os.getpid()}")

    def log(self, line: str) -> None:
        if self.log_file:
            with self.log_file.open("a") as file:
                file.write(line + "\n")

    def send(self, message: dict[str, Any]) -> None:
        with self.write_lock:
            sys.stdout.buffer.write(pack(message))
            sys.stdout.buffer.flush()

    def read(self) -> None:
        while (message := read_message(sys.stdin.buffer)) is not None:
            if message["op"] == "cancel":
                self.cancelled.add(message["params"]["target"])
            elif message["op"] == "shutdown":
                self.send({"id": message["id"], "event": "result", "data": {}})
                break
            else:
                self.work.put(message)
        os._exit(0)

    def run(self) -> None:
        threading.Thread(target=self.read, daemon=True).start()
        for step, done, total in (part.split(":") for part in self.loading.split(",") if part):
            sizes = {"done_bytes": int(done), "total_bytes": int(total) or None}
            self.send({"id": 0, "event": "progress", "data": {"step": step, **sizes}})
            time.sleep(self.step_s)
        while self.held_until and not self.held_until.exists():
            time.sleep(self.step_s)
        while True:
            message = self.work.get()
            if self.refusal:
                error = {"code": "ModelNotFound", "message": self.refusal}
                self.send({"id": message["id"], "event": "error", **error})
            elif message["op"] == "complete":
                self.complete(message["id"], message["params"])
            elif message["op"] == "warm" and message["params"]["prefix"].endswith(b"BUSY"):
                withdrawn = {"code": "Cancelled", "message": "something else came first"}
                self.send({"id": message["id"], "event": "error", **withdrawn})
            else:
                texts = [f"{len(message['params']['text'])} bytes"] if message["op"] == "learn" else []
                self.log(" ".join([message["op"], *texts]) + _related(message["params"]))
                answers = {
                    "warm": {"prompt_tokens": 1},
                    "learn": {},
                    "info": {"model": "scripted", "context": 1024, "version": "0"},
                    "health": {"ok": True},
                    "next_bytes": {"tail": message["params"].get("prefix", b"")},
                    "explain": _explanation(message["params"]),
                }
                self.send({"id": message["id"], "event": "result", "data": answers[message["op"]]})

    def complete(self, request_id: int, params: dict[str, Any]) -> None:
        self.log(f"complete {request_id} of {len(params['prefix'])} bytes{_related(params)}")
        prefix = params["prefix"]
        if prefix.endswith(b"CRASH"):
            print("loading\nfatal: scripted crash", file=sys.stderr, flush=True)
            os._exit(3)
        if prefix.endswith(b"GARBAGE"):
            sys.stdout.buffer.write(b"\xff\xff\xff\xffthis is no frame")
            sys.stdout.buffer.flush()
            return
        if prefix.endswith(b"ERROR"):
            answer = {"code": "BackendError", "message": "the model refused"}
            self.send({"id": request_id, "event": "error", **answer})
            return
        texts = next((texts for end, texts in SCRIPT if prefix.endswith(end)), [b"_done"])
        texts = texts[: params.get("alternatives", 1)]
        steps = SLOW_STEPS if prefix.endswith(b"SLOW") else DEFAULT_STEPS
        steps = len(texts[0]) if prefix.endswith(b"count(") else steps
        for step in range(steps):
            if request_id in self.cancelled:
                self.log(f"cancelled {request_id}")
                self.send({"id": request_id, "event": "error", "code": "Cancelled", "message": "cancelled"})
                return
            self.log(f"step {request_id} {step}")
            if texts:
                self.send({"id": request_id, "event": "partial", "data": {"text": texts[0][: step + 1]}})
            time.sleep(self.step_s)
        self.log(f"result {request_id}")
        result = _result(texts, params.get("max_lines", 1))
        self.send({"id": request_id, "event": "result", "data": result_to_wire(result)})


def _related(params: dict[str, Any]) -> str:
    return f" with {len(params['related'])} excerpt" if params.get("related") else ""


def _explanation(params: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": "scripted", "order": "psm", "fixed": [b""], "fixed_tokens": 1,
        "tail": params.get("prefix", b"")[-5:], "settled": [], "contexts": 1,
        "covers": [{"tokens": [b"hello"], "overhang": b"lo", "share": 1.0}],
        "next_bytes": [1.0 if symbol == ord("l") else 0.0 for symbol in range(257)],
        "naive_tokens": [b"hel"], "naive_next": [[b"p", 0.5]],
        "chosen": [{"byte": 108, "probability": 1.0, "runner_up": 0, "runner_up_probability": 0.0,
                    "evaluations": 1}],
        "text": b"lo()", "join": None,
        "certificate": {"law": "canonical", "contexts": 1, "covers": 1, "dropped_bound": 0.0,
                        "non_canonical": 0.0},
    }  # fmt: skip


def _result(texts: list[bytes], max_lines: int) -> Result:
    shown = [within_lines(text, max_lines) for text in texts]
    return Result(
        completions=tuple(Completion(text=text, logp=-1.0, stop="lines") for text in shown if text),
        certificate=Certificate(law="canonical", contexts=1, covers=1, dropped_bound=0.0, non_canonical=0.0),
        usage=Usage(**{field.name: 1 for field in dataclasses.fields(Usage)}),
        model="scripted",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--step-ms", type=float, default=1.0)
    parser.add_argument("--log", type=Path)
    parser.add_argument(
        "--loading", default="", help="progress before the first answer, as STEP:DONE:TOTAL,…"
    )
    parser.add_argument(
        "--hold", action="store_true", help="load until there is a file like the log that ends with .go"
    )
    parser.add_argument(
        "--refuse", default="", help="answer everything with this sentence of a ModelNotFound"
    )
    options, _ = parser.parse_known_args()
    Engine(options).run()
