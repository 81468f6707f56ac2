"""Telling the user how far a long step is: one callback, and the bar that draws it on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

Report = Callable[[str, int, int | None], None]
"""`report(step, done_bytes, total_bytes)`; total None while it is unknown."""


def silent(step: str, done_bytes: int, total_bytes: int | None) -> None:
    """The report of a caller that does not want to know."""


@contextmanager
def bar(console: Console | None = None) -> Iterator[Report]:
    """A report that draws on stderr: a bar per step, a moving one where the total is unknown.

    Where stderr is no terminal, a line per step and per hundredth of it, for programs that show progress.
    """
    # The engine process imports this module, draws nothing, and should be there soon.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
    from rich.table import Column

    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[amount]}"),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def finish() -> None:
            for task in progress.tasks:
                progress.update(task.id, total=task.completed or 1, completed=task.completed or 1)

        def report(step: str, done_bytes: int, total_bytes: int | None) -> None:
            if step not in tasks:
                finish()
                tasks[step] = progress.add_task(step, total=None, amount="")
            amount = _amount(done_bytes, total_bytes)
            progress.update(tasks[step], completed=done_bytes, total=total_bytes, amount=amount)

        yield report
        finish()


def _lines(console: Console) -> Report:
    last: tuple[str, int] | None = None

    def report(step: str, done_bytes: int, total_bytes: int | None) -> None:
        nonlocal last
        now = (step, 100 * done_bytes // total_bytes if total_bytes else 0)
        if now != last:
            last = now
            amount = _amount(done_bytes, total_bytes)
            console.print(f"{step}: {amount}" if amount else step, markup=False, soft_wrap=True)

    return report


def _amount(done_bytes: int, total_bytes: int | None) -> str:
    if total_bytes:
        return f"{done_bytes / 1e6:,.0f} of {total_bytes / 1e6:,.0f} MB"
    return f"{done_bytes / 1e6:,.0f} MB" if done_bytes else ""
