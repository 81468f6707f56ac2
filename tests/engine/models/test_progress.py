from __future__ import annotations

import io

from rich.console import Console

from engine.models.progress import bar


def test_without_a_terminal_there_is_a_line_per_hundredth() -> None:
    out = io.StringIO()
    total = 98_000_000
    with bar(Console(file=out, force_terminal=False)) as report:
        for done in range(0, total + 1, total // 1000):
            report("downloading [a]", done, total)
        report("checking", 0, None)
    lines = out.getvalue().splitlines()
    assert len(lines) == 102
    assert lines[0] == "downloading [a]: 0 of 98 MB"
    assert lines[100] == "downloading [a]: 98 of 98 MB"
    assert lines[-1] == "checking"
