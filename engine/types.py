"""The frozen data that travels between editor side and engine. Bytes inside, text at the rim."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

Law = Literal["canonical", "all"]
Method = Literal["exact", "bytewise", "hand-over", "best-cover", "heal-one", "naive"]
Drafts = Literal["auto", "off", "lookup", "nearest", "recycling", "stand", "mixed"]
"""How rows are guessed before they are needed (`engine/drafts`): not at all, from texts, from texts and from
what followed where the model's state was alike, from what the model said behind the same token, behind the
same few tokens, or from texts and from what it said. "auto" is "nearest" where a row is the same in any
batch, else "off"."""
LOOKING_UP: tuple[Drafts, ...] = ("lookup", "nearest", "mixed")
"""The ways that need texts."""
SuffixScoring = Literal["auto", "on", "off"]
StopReason = Literal["end-of-middle", "lines", "tokens", "deadline", "context", "cancelled"]


SHOWN_PREFIX_BYTES = 4096
SHOWN_SUFFIX_BYTES = 1024
"""Text shown to the model on either side of the cursor when completing; a caller need not send more."""
RELATED_BYTES = 2048
"""Most bytes of other files' text shown to the model, comment marks apart; a caller need not send more."""
BELOW_BYTES = 1024
"""The same of lines below the cursor, for a model whose prompt has no place for them."""
NOTHING_ODDS = 20.0
"""A cursor that rests at a place is worth this much evidence that something is missing there."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some lines of another file that resemble those at the cursor, or that stand below it."""

    path: str
    text: bytes
    below: bool = False
    """Whether they stand below the cursor's line: a model that is shown the suffix is not shown them again.
    They need not be those of this moment. The prompt starts with them, so it stays as long as they do."""


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to compute. The cursor stands between `prefix` and `suffix`."""

    prefix: bytes
    suffix: bytes = b""
    path: str = ""
    """Name of the document; its ending tells how comments are written. May be empty."""
    related: tuple[Excerpt, ...] = ()
    """Shown to the model before the document, the first ones first to be kept: see `engine/related.py`."""
    max_tokens: int = 48
    """Model evaluations after the prompt, about one a token."""
    max_lines: int = 1
    """Stop before the newline that would end this many lines of shown text."""
    alternatives: int = 1
    temperature: float = 0.0
    """0 is greedy. Else the temperature of tokens, or of bytes if the method is "bytewise"."""
    seed: int = 0
    deadline_ms: float | None = None
    """Milliseconds from receipt; the best complete text so far is returned when it passes."""
    method: Method = "exact"
    drafts: Drafts = "off"
    suffix_scoring: SuffixScoring = "auto"
    """Whether completions are chosen by how well what stands after the cursor follows them: "auto" where
    that is text on the cursor's line. Only the method "exact" at temperature 0 does it."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a result is worth: see byte-exact specification, section 5."""

    law: Law
    contexts: int
    """Token contexts scored before the first byte was chosen."""
    covers: int
    """Covers of the tail with positive mass that were kept."""
    dropped_bound: float
    """Upper bound on the share of P(tail) that was never looked at."""
    non_canonical: float
    """Mass of the next token that no canonical text can contain, at the cursor."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request cost. Times are wall-clock milliseconds in the engine."""

    prompt_tokens: int
    """Tokens of the prompt, resident or not."""
    prompt_tokens_evaluated: int
    """Of these, evaluated for this request (the rest was resident)."""
    tokens_evaluated: int
    """All token positions evaluated, prompt included."""
    model_evaluations: int
    """Calls of the model (decodes); one call may score a whole tree."""
    drafted_tokens: int
    """Of the token positions, those that were evaluated on the guess that they would be needed."""
    accepted_tokens: int
    """Of these, those that were needed."""
    prompt_ms: float
    """Until the distribution at the cursor was known."""
    total_ms: float


@dataclass(frozen=True, slots=True)
class Completion:
    """One text to show at the cursor: whole UTF-8 characters only, the first may begin before the cursor."""

    text: bytes
    logp: float
    """Natural log-probability of `text` given prompt and tail, under the certificate's law.

    If the result has a `join`: of `text` and what follows it; see `engine/suffix.py`.
    """
    stop: StopReason


@dataclass(frozen=True, slots=True)
class Join:
    """How the text after the cursor was scored. Logarithms are on the scale of the completions' `logp`."""

    suffix_bytes: int
    """Bytes of the suffix that were scored after each text."""
    endings: int
    """Texts that were looked at."""
    nothing_logp: float | None
    """Of inserting nothing, at most; exact if it is above the first completion's. None if that is impossible,
    or promised so little that it was not found out."""
    open_logp: float | None
    """No text that was not looked at has more than this; None if all were. The first completion is certainly
    the best of all if this is not above its `logp`."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a Request: best completion first, none if there is nothing to say."""

    completions: tuple[Completion, ...]
    certificate: Certificate | None
    """None for the methods that are not exact: heal-one, naive."""
    usage: Usage
    model: str
    join: Join | None = None
    """None if the suffix was not scored."""

    @property
    def shown(self) -> tuple[Completion, ...]:
        """The completions; none if inserting nothing is over NOTHING_ODDS times as likely as the best."""
        if self.join is None or self.join.nothing_logp is None or not self.completions:
            return self.completions
        odds = self.join.nothing_logp - self.completions[0].logp
        return () if odds > math.log(NOTHING_ODDS) else self.completions


@dataclass(frozen=True, slots=True)
class Cover:
    """A token sequence whose bytes start with the tail, only its last token passing the end."""

    tokens: tuple[int, ...]
    logp: float
    """Natural log of P(tokens), both counted from the end of the tokens that no cover disputes."""
    overhang: bytes


@dataclass(frozen=True, slots=True)
class ByteDistribution:
    """P(next byte | text before the cursor): `sum(bytes_) + stop + non_canonical == 1` to rounding."""

    law: Law
    bytes_: tuple[float, ...]
    """256 probabilities, by byte value."""
    stop: float
    non_canonical: float
    dropped_bound: float
    covers: tuple[Cover, ...] = field(repr=False)
    model_evaluations: int
    logp_tail: float
    """Natural log of the probability of all covers, counted as theirs are."""
