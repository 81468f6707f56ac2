"""From sessions to figures: percentiles, shares and costs, over all keys and by class of cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from lsp_server.replay.cursors import CLASSES
from lsp_server.replay.editor import Key, Session
from lsp_server.replay.peer import Peer
from lsp_server.replay.process import Used


@dataclass(frozen=True, slots=True)
class Row:
    """One class of cursors (or all). Times in milliseconds."""

    name: str
    keys: int
    answered_share: float
    """Of the keys, answered before the next one."""
    shown_share: float
    """Of the answered, with something to show."""
    right_share: float
    """Of what was shown, what the user then typed."""
    p50_ms: float | None
    """Time to ghost text: percentiles over all keys with ghost text. A withdrawn question counts as slower
    than any answer that took less than it waited (Kaplan and Meier's estimator); None: beyond all waits."""
    p95_ms: float | None
    p99_ms: float | None
    prompt_tokens: float
    """Evaluated of the prompt for a key, median."""
    prompt_tokens_mean: float
    stale: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All of one peer's run."""

    peer: str
    rows: tuple[Row, ...]
    start_ms: dict[str, float]
    evaluations_per_completion: float
    ms_per_completion: float
    """In the engine, prompt included."""
    ms_per_evaluation: float
    decode_tokens: int
    """Evaluated behind prompts, for whatever purpose."""
    wasted_tokens: int
    """Of these, for texts of which nothing was shown."""
    ahead_tokens: int
    """Evaluated ahead of any request, prompts included."""
    cancelled: int
    cancel_steps_p50: float | None
    """From a cancellation to the engine's last word on it, in mean evaluations."""
    cancel_steps_p99: float | None
    cpu_s_per_key: float
    cpu_cores_used: float
    peak_mb: float
    anonymous_mb: float
    accepted_share: float
    """Of the characters that were to be typed."""
    text_is_whole: bool
    """Whether the documents were the original files at the end, character for character."""
    shown_ms: tuple[float, ...]
    """Time to ghost text, of every key that had any; in the order of the keys."""
    prompt_tokens: tuple[int, ...]
    """Evaluated of the prompt, for every key."""

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, without those of the single keys."""
        return {name: value for name, value in asdict(self).items() if name not in _BY_KEY}

    def row(self, name: str) -> Row:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)


_BY_KEY = ("shown_ms", "prompt_tokens")


@dataclass(frozen=True, slots=True)
class Run:
    """One trace played with one peer; `before` and `after` are what its processes had used."""

    peer: Peer
    session: Session
    before: Used
    after: Used
    wall_s: float


def figures(runs: Sequence[Run]) -> Figures:
    """What came of `runs`, all with peers of one kind."""
    keys = [(key, tokens) for run in runs for key, tokens in _with_prompt_tokens(run)]
    costs = [cost for run in runs for cost in run.peer.costs]
    done = [cost for cost in costs if cost.purpose == "asked" and cost.outcome == "done"]
    decode_ms = sum(cost.total_ms - cost.prompt_ms for cost in done)
    step_ms = decode_ms / max(1, sum(max(0, cost.evaluations - 1) for cost in done))
    cancels = [cost.cancel_ms / step_ms for cost in costs if cost.cancel_ms is not None and step_ms]
    accepted = sum(run.session.accepted_chars for run in runs)
    typed = accepted + sum(run.session.typed_chars for run in runs)
    cpu_s = sum(run.after.cpu_s - run.before.cpu_s for run in runs)
    return Figures(
        peer=runs[0].peer.name,
        rows=_rows(keys),
        start_ms={
            step: max(run.peer.start_ms.get(step, 0.0) for run in runs) for step in runs[0].peer.start_ms
        },
        evaluations_per_completion=sum(cost.evaluations for cost in done) / max(1, len(done)),
        ms_per_completion=sum(cost.total_ms for cost in done) / max(1, len(done)),
        ms_per_evaluation=step_ms,
        decode_tokens=sum(cost.decode_tokens for cost in costs),
        wasted_tokens=sum(cost.decode_tokens for cost in costs if not cost.was_used),
        ahead_tokens=sum(c.prompt_tokens + c.decode_tokens for c in costs if c.purpose != "asked"),
        cancelled=len(cancels),
        cancel_steps_p50=censored_quantile(cancels, [], 0.5),
        cancel_steps_p99=censored_quantile(cancels, [], 0.99),
        cpu_s_per_key=cpu_s / max(1, len(keys)),
        cpu_cores_used=cpu_s / max(1e-9, sum(run.wall_s for run in runs)),
        peak_mb=max(run.after.peak_mb for run in runs),
        anonymous_mb=max(run.after.anonymous_mb for run in runs),
        accepted_share=accepted / max(1, typed),
        shown_ms=tuple(key.ms for key, _ in keys if key.shown and key.ms is not None),
        prompt_tokens=tuple(tokens for _, tokens in keys),
        text_is_whole=all(run.session.text == run.session.trace.text for run in runs),
    )


def _with_prompt_tokens(run: Run) -> list[tuple[Key, int]]:
    """The keys of a run, with the prompt tokens that each has caused."""
    tokens = [0] * len(run.session.keys)
    for cost in run.peer.costs:
        if cost.purpose == "asked":
            tokens[cost.key] += cost.prompt_tokens
    return list(zip(run.session.keys, tokens, strict=True))


def _rows(keys: Sequence[tuple[Key, int]]) -> tuple[Row, ...]:
    rows = [_row("all", keys), _row("typing", [n for n in keys if n[0].kind == "type"])]
    rows += [_row(name, [n for n in keys if n[0].cursor == name]) for name in CLASSES]
    rows.append(_row("after a jump", [n for n in keys if n[0].kind == "move"]))
    return tuple(row for row in rows if row.keys)


def _row(name: str, keys: Sequence[tuple[Key, int]]) -> Row:
    answered = [key for key, _ in keys if key.ms is not None]
    shown = [key for key in answered if key.shown]
    times = [key.ms for key in shown if key.ms is not None]
    waits = [key.withdrawn_ms for key, _ in keys if key.withdrawn_ms is not None]
    prompt_tokens = [tokens for _, tokens in keys]
    return Row(
        name=name,
        keys=len(keys),
        answered_share=len(answered) / max(1, len(keys)),
        shown_share=len(shown) / max(1, len(answered)),
        right_share=sum(key.is_right for key in shown) / max(1, len(shown)),
        p50_ms=censored_quantile(times, waits, 0.5),
        p95_ms=censored_quantile(times, waits, 0.95),
        p99_ms=censored_quantile(times, waits, 0.99),
        prompt_tokens=median(prompt_tokens) if prompt_tokens else 0.0,
        prompt_tokens_mean=sum(prompt_tokens) / max(1, len(prompt_tokens)),
        stale=sum(key.is_stale for key in shown),
    )


def censored_quantile(times: Sequence[float], waits: Sequence[float], share: float) -> float | None:
    """The quantile of times of which some are only known to be longer than a wait.

    Kaplan and Meier, "Nonparametric Estimation from Incomplete Observations", 1958: going through all in
    order, each time t takes its part of those still open at t. None if so many times are not known.
    """
    survivors = 1.0
    still_open = len(times) + len(waits)
    for value, was_withdrawn in sorted([(t, False) for t in times] + [(w, True) for w in waits]):
        if not was_withdrawn:
            survivors *= 1 - 1 / still_open
            if survivors <= 1 - share + 1e-9:
                return value
        still_open -= 1
    return None
