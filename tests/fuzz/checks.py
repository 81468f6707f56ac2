"""What must hold of the answers."""

from __future__ import annotations

import numpy as np

from engine.covers import DROPPED_BOUND, STOP, CoverState
from engine.errors import InputError
from engine.fim import Prompt
from engine.types import ByteDistribution, Certificate, Completion, Request, Result
from tests.fuzz.reference import Known, Reference
from tests.fuzz.showing import shown

ROUNDING = 1e-9


def check_shown(request: Request, completion: Completion) -> None:
    """Whole characters and lines, and nothing that does not continue the text."""
    text = completion.text
    assert text and completion.logp <= ROUNDING
    assert shown(request, text)[0] == text, (request, completion)


def check_distribution(found: ByteDistribution, prompt: Prompt, reference: Reference) -> None:
    """Sums to one, and is a new engine's up to its bound."""
    sums = sum(found.bytes_) + found.stop + found.non_canonical + found.dropped_bound
    assert abs(sums - 1) < ROUNDING
    assert found.dropped_bound <= DROPPED_BOUND
    truth = reference.rebuilt(prompt).shares
    assert np.abs(truth.known - [*found.bytes_, found.stop]).max() <= found.dropped_bound + ROUNDING


def check_certificate(certificate: Certificate, prompt: Prompt, reference: Reference) -> None:
    """Its bound, and what it says of the mass that no canonical text can have."""
    assert certificate.contexts + certificate.covers > 0
    assert 0 <= certificate.dropped_bound <= DROPPED_BOUND
    truth = reference.rebuilt(prompt).shares
    assert abs(truth.non_canonical - certificate.non_canonical) <= certificate.dropped_bound + ROUNDING


def check_greedy(request: Request, result: Result, start: Known) -> None:
    """The first completion is the likeliest byte again and again, from `start` on."""
    if not result.completions:
        return  # a budget, or an end at once: there was nothing to show
    first = result.completions[0]
    state, raw, logp = start, b"", 0.0
    while True:
        known = state.shares()
        best = int(known.argmax()) if known.any() else STOP
        ended = shown(request, raw)[1]
        if ended or best == STOP or len(raw) > len(first.text) + 8:
            break
        logp += float(np.log(known[best]))
        raw += bytes([best])
        state = state.push(best)
    text, ended = shown(request, raw)[0], ended or ("end-of-middle" if best == STOP else None)
    if request.alternatives > 1 and not any(text.startswith(c.text) for c in result.completions):
        return  # the greedy text is empty, or its budget leaves nothing of it: only alternatives are left
    if first.stop in ("tokens", "deadline"):
        assert text.startswith(first.text), (text, first)
        return
    assert (text, ended) == (first.text, first.stop), (raw, first)
    assert first.logp <= logp + ROUNDING, (raw, first, logp)


def check_join(result: Result) -> None:
    """Best first; each of them was looked at."""
    logs = [completion.logp for completion in result.completions]
    assert result.join is not None and logs == sorted(logs, reverse=True)
    assert result.join.suffix_bytes > 0 and result.join.endings >= len(logs) - 1


def check_state(state: CoverState, prompt: Prompt, reference: Reference) -> None:
    """Equal to a rebuild, up to what it has not looked at."""
    shares = state.shares
    try:
        truth = reference.rebuilt(prompt).shares
    except InputError:  # a byte that cannot be there was pushed
        assert not shares.known.any(), prompt.tail
        return
    if state.contexts or state.pending:
        assert abs(shares.known.sum() + shares.unknown + shares.non_canonical - 1) < ROUNDING
    assert np.abs(shares.known - truth.known).max() <= shares.unknown + 1e-7, prompt.tail
    certain = shares.certain_best() if truth.known.any() else None
    assert certain is None or truth.known[certain] >= truth.known.max() - 1e-7
