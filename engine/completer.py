"""The engine's two questions: complete at a cursor, and the distribution of the next byte there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import get_args

from engine.backends.base import StopSignal
from engine.bill import Bill
from engine.bytewise import OnText
from engine.covers import CoverSpace, CoverState
from engine.decode import Decoder
from engine.drafts.drafter import Brief
from engine.errors import InputError
from engine.fim import Budget, Prompt, build_prompt
from engine.model import Model
from engine.related import as_comments
from engine.segmentations import all_segmentations
from engine.stop import Limits
from engine.suffix import SuffixSearch, is_inside_line, join_of
from engine.types import (
    SHOWN_PREFIX_BYTES,
    SHOWN_SUFFIX_BYTES,
    ByteDistribution,
    Certificate,
    Completion,
    Join,
    Law,
    Request,
    Result,
    SuffixScoring,
    Usage,
)

_RESERVED_TOKENS = 64
"""Room for covers and sentinels beside prompt and completion."""


class Completer:
    """Answers requests on one model, one at a time."""

    def __init__(self, model: Model) -> None:
        self.model = model

    # -- completing -------------------------------------------------------------------------------

    def complete(self, request: Request, stop: StopSignal, on_text: OnText | None = None) -> Result:
        """The completions of a request, best first; none if there is nothing to show.

        `on_text` hears the text so far after each model evaluation. Raises Cancelled when `stop` is set,
        InputError for a request that makes no sense.
        """
        validate(request)
        bill = Bill(self.model)
        prompt = self._prompt_of(request)
        space = self._space(stop)
        decoder = Decoder(space, limits_of(request, stop), on_text)
        with bill.on_cancel(), self._drafting(request, prompt):
            state = space.open(prompt.fixed, prompt.tail) if _is_exact(request) else None
            bill.prompt_done(self.prompt_tokens(prompt), scored=state is not None)
            completions, join = self._decode(request, decoder, prompt, state)
        return Result(
            completions=tuple(completion for completion in completions if completion.text),
            certificate=certificate_of(state) if state else None,
            usage=bill.usage(),
            model=self.model.name,
            join=join,
        )

    @contextmanager
    def _drafting(self, request: Request, prompt: Prompt) -> Iterator[None]:
        """Rows are scored ahead, as the request wants it."""
        if (drafter := self.model.scorer.drafter) is None:
            yield
            return
        encode = self.model.tokenizer.encode
        drafter.begin(
            Brief(
                method=request.drafts,
                name=request.path,
                prompt=prompt.fixed + encode(prompt.tail),
                fixed=len(prompt.fixed),
                behind=encode(prompt.unseen),
                max_lines=request.max_lines,
                max_tokens=request.max_tokens,
            )
        )
        try:
            yield
        finally:
            drafter.end()

    def open(self, request: Request, stop: StopSignal) -> tuple[Prompt, CoverState]:
        """The prompt of a request, and the covers at its cursor. Raises as `complete`."""
        prompt = self._prompt_of(request)
        return prompt, self._space(stop).open(prompt.fixed, prompt.tail)

    def warm(self, request: Request, stop: StopSignal) -> Usage:
        """Makes the prompt of `request` resident and scores its cursor, so that completing starts there.

        Returns what it cost. Raises as `complete`.
        """
        validate(request)
        bill = Bill(self.model)
        with bill.on_cancel():
            prompt, _ = self.open(request, stop)
        bill.prompt_done(self.prompt_tokens(prompt))
        return bill.usage()

    def learn(self, path: str, text: bytes) -> None:
        """Drafts may look up the text of a document; an empty one is forgotten."""
        if (drafter := self.model.scorer.drafter) is None:
            return
        if not text:
            drafter.forget(path)
        else:
            tokenizer = self.model.tokenizer
            drafter.learn_text(path, tokenizer.encode(text.translate(None, bytes(tokenizer.missing_bytes))))

    def _decode(
        self, request: Request, decoder: Decoder, prompt: Prompt, state: CoverState | None
    ) -> tuple[list[Completion], Join | None]:
        if state is None:
            method = decoder.naive if request.method == "naive" else decoder.heal_one
            return [method(prompt.fixed, prompt.tail)], None
        if request.temperature > 0:
            draw = decoder.sample_bytes if request.method == "bytewise" else decoder.sample
            return drawn(request, lambda seed: draw(state, request.temperature, seed)), None
        if request.method == "best-cover":
            return [decoder.best_cover(state)], None
        if request.method == "hand-over":
            return [decoder.hand_over(state)], None
        if join := self.join(request):
            shows_suffix = self.model.template.order != "none"
            search = SuffixSearch(state.space, decoder.limits, prompt.tail, join, shows_suffix)
            return search.search(state, request.alternatives)
        return decoder.alternatives(state, request.alternatives), None

    def join(self, request: Request) -> bytes:
        """What the completions of a request must join; b"" if that is not scored."""
        scoring = request.suffix_scoring
        if scoring == "off" or request.method != "exact" or request.temperature > 0:
            return b""
        if scoring == "auto" and not is_inside_line(request.suffix):
            return b""
        return join_of(request.suffix, self.model.tokenizer.missing_bytes)

    # -- next bytes -------------------------------------------------------------------------------

    def next_bytes(
        self, prefix: bytes, suffix: bytes, law: Law, stop: StopSignal, *, contexts: int = 512
    ) -> ByteDistribution:
        """P(next byte | prefix, suffix) under `law`.

        `contexts` bounds how many segmentations the law "all" looks at. Raises Cancelled, InputError.
        """
        prompt = self.whole_prompt(prefix, suffix)
        before = self.model.backend.evaluations
        space = self._space(stop)
        if law == "all":
            return all_segmentations(space, prompt.fixed, prompt.tail, contexts)
        state = space.open(prompt.fixed, prompt.tail)
        return state.distribution(self.model.backend.evaluations - before)

    # -- prompts ----------------------------------------------------------------------------------

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Tokens of the whole prompt, the tail counted by its canonical encoding."""
        return len(prompt.fixed) + len(self.model.tokenizer.encode(prompt.tail))

    def _space(self, stop: StopSignal) -> CoverSpace:
        return CoverSpace(self.model.tokenizer, self.model.scorer, self.model.stop_tokens, stop)

    def whole_prompt(self, prefix: bytes, suffix: bytes) -> Prompt:
        """The prompt that shows as much of the text as the context holds."""
        widest = 8 * self.model.backend.context_length
        return self._prompt(prefix, suffix, Budget(widest, widest), 1)

    def _prompt_of(self, request: Request) -> Prompt:
        budget = Budget(SHOWN_PREFIX_BYTES, SHOWN_SUFFIX_BYTES)
        has_place = self.model.template.order != "none"
        related = [excerpt for excerpt in request.related if not (excerpt.below and has_place)]
        above = as_comments(related, request.path)
        return self._prompt(request.prefix, request.suffix, budget, request.max_tokens, above)

    def _prompt(
        self, prefix: bytes, suffix: bytes, budget: Budget, new_tokens: int, above: bytes = b""
    ) -> Prompt:
        """The prompt, with less shown until its tokens fit: first nothing `above`, then less of the text."""
        model = self.model
        room = model.backend.context_length - new_tokens - _RESERVED_TOKENS
        while True:
            prompt = build_prompt(
                model.tokenizer, model.template, prefix, suffix, budget, model.separator, above
            )
            if self.prompt_tokens(prompt) <= room:
                return prompt
            if budget.prefix_bytes < 64:
                raise InputError(
                    f"the context of {model.backend.context_length} tokens is too small for this request"
                )
            if not above:
                budget = Budget(budget.prefix_bytes * 3 // 4, budget.suffix_bytes * 3 // 4)
            above = b""


def _is_exact(request: Request) -> bool:
    return request.method not in ("naive", "heal-one")


def limits_of(request: Request, stop: StopSignal) -> Limits:
    """How far the completions of a request may go."""
    return Limits(request.max_tokens, request.max_lines, lambda: stop.is_overdue, request.prefix)


def drawn(request: Request, draw: Callable[[int], Completion]) -> list[Completion]:
    """As many samples as alternatives are asked for, by seed; different ones, likeliest first."""
    samples = map(draw, range(request.seed, request.seed + request.alternatives))
    return sorted({sample.text: sample for sample in samples}.values(), key=lambda c: -c.logp)


def certificate_of(state: CoverState) -> Certificate:
    """What the distribution at the cursor is worth."""
    return Certificate(
        law="canonical",
        contexts=len(state.contexts),
        covers=state.cover_count,
        dropped_bound=state.shares.unknown,
        non_canonical=state.shares.non_canonical,
    )


def validate(request: Request) -> None:
    """Raises InputError with what was found and what is allowed."""
    for name, value, low, high in (
        ("max_tokens", request.max_tokens, 1, 1024),
        ("max_lines", request.max_lines, 1, 200),
        ("alternatives", request.alternatives, 1, 32),
        ("temperature", request.temperature, 0, 10),
        ("seed", request.seed, 0, 2**32),
    ):
        if not low <= value <= high:
            raise InputError(f"{name} is {value}, expected {low} to {high}")
    if request.suffix_scoring not in get_args(SuffixScoring):
        known = ", ".join(get_args(SuffixScoring))
        raise InputError(f"suffix_scoring is {request.suffix_scoring!r}, expected one of {known}")
    if request.suffix_scoring == "on" and (request.method != "exact" or request.temperature > 0):
        raise InputError("suffix_scoring 'on' needs the method 'exact' at temperature 0")
    if request.temperature > 0 and request.method not in ("exact", "bytewise"):
        raise InputError(
            f"sampling (temperature {request.temperature}) needs the method 'exact' (the temperature is that"
            " of tokens) or 'bytewise' (that of bytes)"
        )
