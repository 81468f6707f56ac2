"""Completing with several models at once; how their distributions become one is in `engine/mixing.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.backends.base import StopSignal
from engine.bill import Bill
from engine.bytewise import ByteDecoder, OnText
from engine.completer import Completer, certificate_of, drawn, limits_of, validate
from engine.covers import CoverState
from engine.errors import InputError
from engine.mixing import EnsembleState, Mix
from engine.types import Certificate, Completion, Request, Result


class Ensemble:
    """Answers requests with several models; decoding is bytewise, as they share nothing but bytes."""

    def __init__(self, completers: Sequence[Completer], mix: Mix) -> None:
        self._completers = tuple(completers)
        self._mix = mix

    def complete(self, request: Request, stop: StopSignal, on_text: OnText | None = None) -> Result:
        """As `Completer.complete`. `max_tokens` bounds the model evaluations of all members together.

        The certificate counts the contexts and covers of all members; its bound and its non-canonical
        mass are the members' weighted means.
        """
        validate(request)
        if request.method not in ("exact", "bytewise"):
            raise InputError(f"the method {request.method!r} needs a single model; use exact or bytewise")
        if request.temperature > 0 and request.method != "bytewise":
            raise InputError("several models are sampled byte by byte; choose the method bytewise")
        if request.suffix_scoring == "on":
            raise InputError("the suffix is scored by a single model; leave suffix_scoring at auto or off")
        bill = Bill(*(completer.model for completer in self._completers))
        opened = [completer.open(request, stop) for completer in self._completers]
        members = tuple(state for _, state in opened)
        lengths = [c.prompt_tokens(prompt) for c, (prompt, _) in zip(self._completers, opened, strict=True)]
        bill.prompt_done(sum(lengths))
        decoder = ByteDecoder[EnsembleState](limits_of(request, stop), on_text)
        completions = self._decode(request, decoder, EnsembleState(self._mix, members))
        return Result(
            completions=tuple(completion for completion in completions if completion.text),
            certificate=self._certificate(members),
            usage=bill.usage(),
            model=" + ".join(completer.model.name for completer in self._completers),
        )

    def _decode(
        self, request: Request, decoder: ByteDecoder[EnsembleState], state: EnsembleState
    ) -> list[Completion]:
        if request.temperature > 0:
            return drawn(request, lambda seed: decoder.sample_bytes(state, request.temperature, seed))
        return decoder.alternatives(state, request.alternatives)

    def _certificate(self, members: Sequence[CoverState]) -> Certificate:
        parts = [certificate_of(member) for member in members]
        return Certificate(
            law="canonical",
            contexts=sum(part.contexts for part in parts),
            covers=sum(part.covers for part in parts),
            dropped_bound=float(np.dot(self._mix.weights, [part.dropped_bound for part in parts])),
            non_canonical=float(np.dot(self._mix.weights, [part.non_canonical for part in parts])),
        )
