"""One session in one world: edits, and after each a question whose answer is checked.

Everything follows from one seed. The engine under test keeps its rows and its backend from one question to
the next, as a real one does; what it says is compared with a new one, and with the law's definition.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np

from engine.backends.base import StopSignal
from engine.completer import Completer
from engine.covers import STOP, CoverState
from engine.ensemble import Ensemble
from engine.errors import Cancelled, InputError
from engine.fim import Prompt
from engine.mixing import Mix
from engine.suffix import SEARCH_EVALUATIONS, SEARCH_ROWS
from engine.types import Drafts, Excerpt, Method, Request, SuffixScoring
from tests.engine.toy_models import resolved
from tests.fuzz import texts
from tests.fuzz.backend import WatchedBackend
from tests.fuzz.checks import (
    ROUNDING,
    check_certificate,
    check_distribution,
    check_greedy,
    check_join,
    check_shown,
    check_state,
)
from tests.fuzz.reference import Known, Reference
from tests.fuzz.worlds import World, random_world

METHODS: tuple[Method, ...] = ("exact", "bytewise", "hand-over", "best-cover", "heal-one", "naive")


class Session:
    """A world, a cursor in a text, and an engine that has answered before."""

    def __init__(self, seed: int, *, shows_others: bool = True) -> None:
        """Without `shows_others` no excerpts of other files are shown, as in sessions of old."""
        self.rng = random.Random(seed)
        self.of_others = random.Random(f"others {seed}") if shows_others else None
        self.world = random_world(self.rng)
        row_budget = self.rng.choice((0, None))
        self.model = self.world.model(row_budget)
        self.rows_may_go = row_budget == 0
        self.completer = Completer(self.model)
        self.reference = Reference(self.world)
        self.prefix = texts.text(self.rng, self.world, 6)
        self.suffix = texts.text(self.rng, self.world, 4)

    @property
    def backend(self) -> WatchedBackend:
        """The engine's backend."""
        assert isinstance(self.model.backend, WatchedBackend)
        return self.model.backend

    def run(self, steps: int) -> None:
        """`steps` edits, each with a question. Raises AssertionError, or whatever the engine raises."""
        questions: tuple[Callable[[], None], ...] = (
            self.complete, self.complete, self.complete, self.next_bytes, self.walk,
            self.enumerate, self.all_segmentations, self.interrupt, self.warm, self.ensemble,
        )  # fmt: skip
        for _ in range(steps):
            self.prefix, self.suffix = texts.edited(self.rng, self.world, self.prefix, self.suffix)
            self.rng.choice(questions)()

    # -- questions --------------------------------------------------------------------------------

    def request(self) -> Request:
        """Any limits, any method that they allow."""
        rng = self.rng
        method = rng.choice(METHODS) if rng.random() < 0.5 else "exact"
        drawn = method == "bytewise" or (method == "exact" and rng.random() < 0.2)
        return Request(
            self.prefix,
            self.suffix,
            max_tokens=rng.choice((1, 2, 5, 12, 30)),
            max_lines=rng.choice((1, 1, 2, 9)),
            alternatives=rng.choice((1, 1, 1, 3)),
            temperature=rng.choice((0.3, 1.0, 4.0)) if drawn else 0.0,
            seed=rng.randrange(9),
            method=method,
            drafts=rng.choice(get_args(Drafts)),
            suffix_scoring="off" if drawn or method != "exact" else rng.choice(get_args(SuffixScoring)),
            related=self.related(),
        )

    def related(self) -> tuple[Excerpt, ...]:
        """Now and then an excerpt of another file."""
        if self.of_others is None or self.of_others.random() > 0.1:
            return ()
        return (Excerpt("a.py", self.suffix + self.prefix),)

    def greedy_request(self) -> Request:
        """One that is answered with the likeliest bytes."""
        return replace(self.request(), temperature=0.0, method="exact", suffix_scoring="off")

    def most_evaluations(self, request: Request) -> int:
        """Each alternative is bounded by the limits, the search for a join by its own, both of which may
        ask for more than fits one evaluation; the prompt by its open part. Where the cache of rows is as
        small as can be, the search may have to ask for each of its rows again."""
        again = 2 * SEARCH_ROWS if self.rows_may_go else 0
        return 2 * (request.alternatives * request.max_tokens + SEARCH_EVALUATIONS) + again + 8

    def complete(self) -> None:
        """A completion: bounded, shown as it may be, and the greedy one is the greedy one."""
        request = self.request()
        self.backend.most_evaluations = self.backend.evaluations + self.most_evaluations(request)
        before = self.backend.evaluations
        try:
            result = self.completer.complete(request, StopSignal(deadline(self.rng)))
        except InputError as error:
            assert self.is_refused(), error
            return
        finally:
            self.backend.most_evaluations = None
        assert result.usage.model_evaluations == self.backend.evaluations - before
        for completion in result.completions:
            check_shown(request, completion)
        assert len({c.text for c in result.completions}) == len(result.completions) <= request.alternatives
        prompt, _ = self.completer.open(request, StopSignal())
        if result.certificate:
            check_certificate(result.certificate, prompt, self.reference)
        if result.join:
            check_join(result)
        elif request.method == "exact" and request.temperature == 0:
            check_greedy(request, result, Known((self.reference.rebuilt(prompt),)))

    def next_bytes(self) -> None:
        """The distribution sums to one and is a new engine's, up to its bound."""
        try:
            found = self.completer.next_bytes(self.prefix, self.suffix, "canonical", StopSignal())
        except InputError as error:
            assert self.is_refused(), error
            return
        prompt = self.completer.whole_prompt(self.prefix, self.suffix)
        check_distribution(found, prompt, self.reference)

    def walk(self) -> None:
        """Pushed and popped bytes, each state against a rebuild."""
        try:
            prompt, state = self.completer.open(Request(self.prefix, self.suffix), StopSignal())
        except InputError as error:
            assert self.is_refused(), error
            return
        states, tail = [state], prompt.tail
        for _ in range(self.rng.randint(1, 8)):
            if len(states) > 1 and self.rng.random() < 0.3:
                states.pop()
                tail = tail[:-1]
            else:
                byte = self.next_byte(states[-1])
                states.append(states[-1].push(byte))
                tail += bytes([byte])
            if self.rng.random() < 0.4:
                states[-1] = resolved(states[-1])
            check_state(states[-1], Prompt(prompt.fixed, tail), self.reference)
            if not states[-1].shares.known.any():
                return

    def enumerate(self) -> None:
        """A short text against every token at every place."""
        short = texts.text(self.rng, self.world, 2)[: 7 if self.world.toy else 4]
        short = bytes(byte for byte in short if byte not in self.world.tokenizer.missing_bytes)
        truth = self.reference.enumerated(short)
        try:
            state = resolved(self.reference.space(self.model).open((self.world.separator,), short))
        except InputError:
            assert truth is None, short
            return
        assert truth is not None, short
        assert np.abs(state.shares.known - truth.shares).max() < ROUNDING, short
        assert abs(self.reference.log_total(state) - truth.log_total) < 1e-6, short
        covers = [(*state.fixed[1:], *cover.tokens) for cover in state.covers()]
        assert sorted(covers) == sorted(truth.covers), short

    def all_segmentations(self) -> None:
        """The second law: sums to one, whatever is left out."""
        short = self.prefix[-self.rng.randint(0, 12) :]
        try:
            found = self.completer.next_bytes(
                short, b"", "all", StopSignal(), contexts=self.rng.choice((1, 8, 300))
            )
        except InputError as error:
            assert self.is_refused(), error
            return
        sums = sum(found.bytes_) + found.stop + found.non_canonical
        assert sums <= 1 + ROUNDING
        assert sums + found.dropped_bound >= 1 - ROUNDING, (short, sums, found.dropped_bound)

    def interrupt(self) -> None:
        """Cancelled before some evaluation: raises so, and the next answer is as if nothing had been."""
        request, stop = self.greedy_request(), StopSignal()
        left = self.rng.randint(0, 6)

        def count_down() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                stop.cancel()

        self.backend.before_score = count_down
        try:
            self.completer.complete(request, stop)
        except Cancelled:
            assert left < 0
        except InputError as error:
            assert self.is_refused(), error
            return
        else:
            assert left >= 0
        finally:
            self.backend.before_score = lambda: None
        result, (prompt, _) = (
            self.completer.complete(request, StopSignal()),
            self.completer.open(request, StopSignal()),
        )
        check_greedy(request, result, Known((self.reference.rebuilt(prompt),)))

    def ensemble(self) -> None:
        """With another world's model: the likeliest byte of both, mixed by hand."""
        other = Reference(random_world(self.rng))
        weights = [self.rng.choice((1.0, 2.0, 0.1)), 1.0]
        mix = Mix.of(2, self.rng.choice(("mean", "product")), weights)
        request, second = self.greedy_request(), Completer(other.world.model())
        try:
            result = Ensemble((self.completer, second), mix).complete(request, StopSignal())
            prompts = [completer.open(request, StopSignal())[0] for completer in (self.completer, second)]
        except InputError as error:
            assert self.is_refused() or is_refused(other.world), error
            return
        for completion in result.completions:
            check_shown(request, completion)
        states = [r.rebuilt(p) for r, p in zip((self.reference, other), prompts, strict=True)]
        check_greedy(request, result, Known(tuple(states), mix))

    def warm(self) -> None:
        """After `warm` the cursor costs nothing."""
        request = Request(self.prefix, self.suffix, max_tokens=1)
        try:
            self.completer.warm(request, StopSignal())
        except InputError as error:
            assert self.is_refused(), error
            return
        if self.model.scorer._most > 1000:
            before = self.backend.evaluations
            self.completer.open(request, StopSignal())
            assert self.backend.evaluations == before

    # -- what it asks with -----------------------------------------------------------------------

    def next_byte(self, state: CoverState) -> int:
        """Mostly one that can follow."""
        possible = np.flatnonzero(state.shares.known[:STOP])
        if len(possible) and self.rng.random() < 0.9:
            return int(self.rng.choice(possible.tolist()))
        return self.rng.randrange(256)

    def is_refused(self) -> bool:
        """See `is_refused`."""
        return is_refused(self.world)


def is_refused(world: World) -> bool:
    """Whether an engine may say that it cannot answer: the context is small, or a byte is missing."""
    return world.context_length < 4096 or bool(world.tokenizer.missing_bytes)


def deadline(rng: random.Random) -> float | None:
    """Mostly none, sometimes one that has passed already."""
    return rng.choice((None, None, None, None, 0.0, 1.0))
