"""One completion taken apart, for people who want to see how it came about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from engine.backends.base import StopSignal
from engine.bytewise import ByteDecoder
from engine.completer import Completer, certificate_of, limits_of
from engine.covers import CoverState
from engine.fim import Order
from engine.stop import Limits
from engine.tree import TokenPath
from engine.types import Certificate, Join, Request

Spelled = tuple[bytes, ...]
"""Tokens by their bytes."""

SHOWN_FIXED_TOKENS = 12


@dataclass(frozen=True, slots=True)
class ExplainedCover:
    """A way to cut the tail into tokens, the last of which may pass the cursor."""

    tokens: Spelled
    overhang: bytes
    share: float
    """Of P(tail)."""


@dataclass(frozen=True, slots=True)
class ChosenByte:
    """A byte of the completion and its probability, given all that stands before it."""

    byte: int
    probability: float
    runner_up: int
    """The second likeliest symbol; 256 is the end of the middle."""
    runner_up_probability: float
    evaluations: int
    """Times the model was asked before the byte was certain."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything between the text and the completion."""

    model: str
    order: Order
    fixed: Spelled
    """The last prompt tokens before the tail; control tokens have no bytes."""
    fixed_tokens: int
    tail: bytes
    settled: Spelled
    """The tail's first tokens, on which all covers agree."""
    contexts: int
    covers: tuple[ExplainedCover, ...]
    """All with positive mass, likeliest first."""
    next_bytes: tuple[float, ...]
    """(257,) by byte value, and the end of the middle."""
    naive_tokens: Spelled
    """What a tokenizer makes of the tail when it is fed as it is."""
    naive_next: tuple[tuple[bytes, float], ...]
    """The likeliest tokens after those."""
    chosen: tuple[ChosenByte, ...]
    """As far as they decide; the last one may be past what is shown. With a `join`, the text's own."""
    text: bytes
    """The completion as it would be shown."""
    certificate: Certificate
    join: Join | None
    """How the suffix decided; None if it did not."""


def explain(completer: Completer, request: Request, stop: StopSignal, naive: int = 5) -> Explanation:
    """How the completion of `request` comes about. Raises as `Completer.complete`."""
    model = completer.model
    prompt, state = completer.open(request, stop)
    total = state.shares.log_total
    naive_path = model.tokenizer.encode(prompt.tail)
    (row,) = model.scorer.rows([prompt.fixed + naive_path], stop)
    best = np.argsort(row)[::-1][:naive].tolist()
    join = None
    if completer.join(request):
        result = completer.complete(request, stop)
        join, text = result.join, result.shown[0].text if result.shown else b""
    if join:
        chosen = list(_along(state, text))
    else:
        text, chosen = _greedy(state, limits_of(request, stop))
    return Explanation(
        model=model.name,
        order=model.template.order,
        fixed=_spelled(completer, prompt.fixed[-SHOWN_FIXED_TOKENS:]),
        fixed_tokens=len(prompt.fixed),
        tail=prompt.tail,
        settled=_spelled(completer, state.settled),
        contexts=len(state.contexts),
        covers=tuple(
            ExplainedCover(_spelled(completer, c.tokens), c.overhang, float(np.exp(c.logp - total)))
            for c in state.covers()
        ),
        next_bytes=tuple(state.shares.known.tolist()),
        naive_tokens=_spelled(completer, naive_path),
        naive_next=tuple((model.tokenizer.vocab.token_bytes[t], float(np.exp(row[t]))) for t in best),
        chosen=tuple(chosen),
        text=text,
        certificate=certificate_of(state),
        join=join,
    )


def explanation_from_wire(data: dict[str, Any]) -> Explanation:
    """The Explanation that was sent as plain maps and lists."""
    spelled = {name: tuple(data[name]) for name in ("fixed", "settled", "naive_tokens", "next_bytes")}
    covers = tuple(ExplainedCover(tuple(c["tokens"]), c["overhang"], c["share"]) for c in data["covers"])
    naive_next = tuple((token, p) for token, p in data["naive_next"])
    chosen = tuple(ChosenByte(**c) for c in data["chosen"])
    certificate = Certificate(**data["certificate"])
    nested = {"covers": covers, "naive_next": naive_next, "chosen": chosen, "certificate": certificate}
    nested |= {"join": Join(**data["join"]) if data["join"] else None}
    return Explanation(**{**data, **spelled, **nested})


def _spelled(completer: Completer, tokens: TokenPath) -> Spelled:
    return tuple(completer.model.tokenizer.vocab.token_bytes[token] for token in tokens)


def _greedy(state: CoverState, limits: Limits) -> tuple[bytes, list[ChosenByte]]:
    """What greedy decoding shows, and each byte that it chose on the way."""
    asked: Counter[int] = Counter()
    decoder: ByteDecoder[CoverState] = ByteDecoder(limits, lambda text: asked.update([len(text)]))
    completion, stretches = decoder.exact(state)
    places = chain.from_iterable(stretch.places() for stretch in stretches)
    return completion.text, [_choice(p.state, p.symbol, asked[len(p.text)]) for p in places]


def _along(state: CoverState, text: bytes) -> Iterator[ChosenByte]:
    """The bytes of a text that was chosen for what follows it."""
    for byte in text:
        asked = 0
        while state.shares.certain_best() is None:
            state, asked = state.ask(), asked + 1
        yield _choice(state, byte, asked)
        state = state.push(byte)


def _choice(state: CoverState, symbol: int, asked: int) -> ChosenByte:
    """`symbol` beside the likeliest other one."""
    rest = state.shares.known.copy()
    rest[symbol] = 0.0
    second = int(rest.argmax())
    return ChosenByte(symbol, float(state.shares.known[symbol]), second, float(rest[second]), asked)
