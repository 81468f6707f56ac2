"""What pip is doing, from its verbose output: one line that refreshes itself, or now and then a plain one."""

from __future__ import annotations

import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

PLAIN_EVERY_S = 20.0
_NINJA = re.compile(r"\[(\d+)/(\d+)\]")
_MAKE = re.compile(r"\[ *(\d+)%\]")
_STEPS = (
    (re.compile(r"Collecting (\S+)"), "looking for {}"),
    (re.compile(r"Downloading (\S+)"), "downloading {}"),
    (re.compile(r"Building wheel for (\S+)"), "building {}"),
    (re.compile(r"Installing collected packages"), "installing packages"),
)
_ERROR = re.compile(r"\b(?:error|fatal error): *(.+)", re.IGNORECASE)


def step_of(line: str) -> str | None:
    """What a line of pip, ninja or make says is being done, None if it says nothing of the kind."""
    if found := _NINJA.match(line.strip()):
        return f"compiling llama.cpp, {found[1]} of {found[2]} files"
    if found := _MAKE.match(line.strip()):
        return f"compiling llama.cpp, {found[1]} %"
    for pattern, text in _STEPS:
        if found := pattern.match(line.strip()):
            name = found[1].rsplit("/", 1)[-1] if pattern.groups else ""
            return text.format(name)
    return None


def show_progress(process: subprocess.Popen[str], log: Path) -> str:
    """Show the steps until the process closes its output, all of which goes to `log`.

    Returns the last line that names an error, without the word itself; "" if there is none.
    """
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_pump, args=(process, lines), daemon=True).start()
    shown, last_error = _Line(sys.stderr), ""
    with log.open("w", encoding="utf-8") as file:
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                shown.tick()
                continue
            if line is None:
                break
            file.write(line)
            if found := _ERROR.search(line):
                last_error = found[1].strip()
            shown.tick(step_of(line))
    shown.close()
    return last_error


def _pump(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


class _Line:
    """The current step and the time since the start, on a terminal in place, elsewhere now and then."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._refreshes = out.isatty()
        self._began = time.monotonic()
        self._next_s = 0.0
        self._step = "starting pip"

    def tick(self, step: str | None = None) -> None:
        self._step = step or self._step
        elapsed_s = time.monotonic() - self._began
        if elapsed_s >= self._next_s:
            self._next_s = elapsed_s + (0.1 if self._refreshes else PLAIN_EVERY_S)
            self._write(elapsed_s)

    def close(self) -> None:
        self._step = "pip has ended"
        self._write(time.monotonic() - self._began)
        if self._refreshes:
            self._out.write("\n")

    def _write(self, elapsed_s: float) -> None:
        text = f"setup: {int(elapsed_s) // 60}:{int(elapsed_s) % 60:02d}  {self._step}"
        if self._refreshes:
            self._out.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
        else:
            self._out.write(text + "\n")
        self._out.flush()
