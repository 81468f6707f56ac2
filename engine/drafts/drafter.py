"""Speculation without a second model: which rows decoding will most likely ask for next.

The model must be asked for some rows anyway; a few more in the same batch cost less than asking again. So a
*draft* is a tree of guessed tokens behind the rows that are asked for. Its rows go where all rows go, into
the cache of `Scorer`, and decoding finds them there when it comes that way.

*Claim*: what is decoded does not depend on drafts. Decoding reads rows by their path; a row's value is the
model's, whoever asked for it, and which rows are asked for is decided without a look at what is cached. (With
quantised weights llama.cpp's rows differ a little by the shape of the batch: specification, section 10.)

A guess is worth its row if with it the needed rows become cheaper: if its probability is above the cost of
one row more by the mean cost of a needed row so far. The probability is that of all guesses on the way to it;
each is counted by kind, and so learned. Taking the likeliest first until one is not worth it is then best, as
each further one is less likely.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from engine.drafts.acceptance import Acceptance, BatchCosts
from engine.drafts.lookup import LONGEST_MATCH, Followed, Lookup
from engine.drafts.nearest import Alike, Places, behind, followed, weighed
from engine.drafts.seen import Likely, Seen, drawn, likely_tokens
from engine.tree import TokenPath
from engine.types import LOOKING_UP, Drafts
from engine.vocab import FloatArray

MOST_DRAFTED = 24
"""Most rows of a draft."""
HISTORY = LONGEST_MATCH
MOST_FOLLOWED = 2
"""Tokens from texts that are guessed at a place."""
MARGIN = 1.25
"""How much more than its row's cost a guess must promise: the best of several estimates is too high."""
NEAREST_LENGTH = 2
"""What the model's nearest states say is worth as much as what it said behind so many tokens, at first."""
STAND_LONGEST = 4
STAND_DRAWN = 2
"""Tokens that `stand` draws at a place."""
_PARTS = _WHOLE, _BEFORE, _BEHIND = "whole ", "before ", "behind "
"""Names of the texts of a document start with one of these."""


@dataclass(frozen=True, slots=True)
class Root:
    """A place from which decoding may go on: behind `path`, with a token that starts with `head`."""

    path: TokenPath
    head: bytes = b""
    share: float = 1.0
    """How likely decoding goes on from here."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What is known of the text that is about to be decoded."""

    method: Drafts
    name: str
    """Of the document; texts of the same name replace each other."""
    prompt: TokenPath
    fixed: int = 0
    """So many of its tokens begin every path. What is noted of paths is noted by the tokens behind them:
    hashing those of a whole prompt takes as long as guessing."""
    behind: TokenPath = ()
    """The text right of the cursor, if the prompt does not show it."""
    max_lines: int = 1
    max_tokens: int = 1024


_Entry = tuple[float, TokenPath, int, Places]
"""The negative probability of a guess, the path before it, its token, and the places that the model sees like
the end of the path."""


@dataclass(frozen=True, slots=True)
class _Guess:
    token: int
    share: float
    kind: Hashable


class Drafter:
    """Guesses for one model. `begin` and `end` frame a completion; outside of it nothing is guessed."""

    def __init__(
        self,
        token_bytes: Sequence[bytes],
        costs: BatchCosts | None = None,
        auto: Drafts = "off",
        alike: Alike | None = None,
    ) -> None:
        """`auto` is what the method "auto" stands for with this model. Without `alike`, "nearest" is
        "lookup"."""
        self._auto = auto
        self._alike = alike
        self.costs = costs or BatchCosts()
        self.drafted = self.accepted = 0
        """Rows that were scored as drafts, and those of them that decoding asked for."""
        self._token_bytes = token_bytes
        self._lookup = Lookup()
        self._seen = {"recycling": Seen(1), "stand": Seen(STAND_LONGEST), "mixed": Seen(STAND_LONGEST)}
        self._acceptance = Acceptance()
        self._brief: Brief | None = None
        self._open: dict[TokenPath, dict[int, Hashable]] = {}
        self._unvisited: set[TokenPath] = set()
        self._doubtful: set[TokenPath] = set()

    @cached_property
    def _random(self) -> np.random.Generator:
        """Made when it is needed: importing it takes as long as an evaluation."""
        return np.random.default_rng(0)

    # -- a completion -----------------------------------------------------------------------------

    def begin(self, brief: Brief) -> None:
        """Decoding starts."""
        if brief.method == "auto":
            brief = replace(brief, method=self._auto)
        if brief.method == "off":
            return
        self._brief = brief
        self._lookup.learn(_BEFORE + brief.name, brief.prompt)
        if brief.behind:
            self._lookup.learn(_BEHIND + brief.name, brief.behind)

    def end(self) -> None:
        """Decoding is over. Guesses behind places that it never passed were wrong where it could have passed
        them, otherwise neither right nor wrong."""
        for behind_fixed in self._doubtful & self._open.keys():
            for kind in self._open[behind_fixed].values():
                self._acceptance.note(kind, False)
        self._brief = None
        self._open.clear()
        self._unvisited.clear()
        self._doubtful.clear()

    def learn_text(self, name: str, tokens: TokenPath) -> None:
        """A text that decoding may repeat: of any document, however far from the cursor."""
        self._lookup.learn(_WHOLE + name, tokens)

    def forget(self, name: str) -> None:
        """The texts of a document are not to be looked up any more."""
        for part in _PARTS:
            self._lookup.forget(part + name)

    # -- what decoding did ------------------------------------------------------------------------

    def asked(self, path: TokenPath) -> None:
        """Decoding needs the row behind `path`: its last token came true, and its siblings did not."""
        if self._brief is None:
            return
        new = path[self._brief.fixed :]
        if not new:
            return
        if new in self._unvisited:
            self._unvisited.remove(new)
            self.accepted += 1
        for token, kind in self._open.pop(new[:-1], {}).items():
            self._acceptance.note(kind, token == new[-1])

    def scored(self, path: TokenPath, row: FloatArray) -> None:
        """The model has given the row behind `path`."""
        if self._brief is None or self._brief.method not in self._seen:
            return
        self._seen[self._brief.method].learn(path[-STAND_LONGEST:], likely_tokens(row))

    # -- drafts -----------------------------------------------------------------------------------

    def draft(
        self, roots: Sequence[Root], is_known: Callable[[TokenPath], bool], take: Callable[[TokenPath], bool]
    ) -> list[TokenPath]:
        """The paths worth scoring too, each after its own beginning, likeliest first.

        Paths that are known are passed over; `take` says whether there is room for one more.
        """
        if self._brief is None:
            return []
        likeliest = max(roots, key=lambda root: root.share)
        self._lookup.learn(_BEFORE + self._brief.name, likeliest.path, self._brief.fixed)
        heap: list[_Entry] = []
        for root in roots:
            self._push(heap, root.path, root.head, root.share, self._places_like(root.path))
            if root.head or root.share < 1:
                self._doubtful.add(root.path[self._brief.fixed :])
        found: list[TokenPath] = []
        gain = 1.0
        while heap and len(found) < MOST_DRAFTED and self._is_worth(-heap[0][0], len(found), gain):
            share, parent, token, places = heapq.heappop(heap)
            path = (*parent, token)
            if not is_known(path):
                if not take(path):
                    continue
                found.append(path)
                gain -= share
            self._push(heap, path, b"", -share, behind(path, places))
        self._took(found)
        return found

    def _took(self, found: Sequence[TokenPath]) -> None:
        """These paths are drafted."""
        assert self._brief is not None
        self._unvisited.update(path[self._brief.fixed :] for path in found)
        self.drafted += len(found)

    def _is_worth(self, share: float, drafted: int, gain: float) -> bool:
        """Whether one row more, needed with probability `share`, makes rows cheaper.

        `gain` is how many of the rows of an evaluation with `drafted` guesses will be needed.
        """
        return share * self.costs.of(1 + drafted) > MARGIN * self.costs.slope * gain

    def _places_like(self, path: TokenPath) -> Places:
        """Those that the model sees like the end of `path`, if the method asks for them."""
        assert self._brief is not None
        return weighed(self._alike(path)) if self._alike and self._brief.method == "nearest" else ()

    def _push(self, heap: list[_Entry], path: TokenPath, head: bytes, share: float, places: Places) -> None:
        """Puts the guesses behind `path` onto the heap; its `places` are those that the model sees like its
        end."""
        assert self._brief is not None
        kinds = self._open.setdefault(path[self._brief.fixed :], {})
        lines = self._lines_left(path)
        for guess in self._guesses(path, head, places) if lines > 0 else ():
            text = self._token_bytes[guess.token]
            if text.startswith(head) and text.count(b"\n", len(head)) < lines:
                kinds.setdefault(guess.token, guess.kind)
                heapq.heappush(heap, (-share * guess.share, path, guess.token, places))

    def _lines_left(self, path: TokenPath) -> int:
        """How many line ends behind `path` end the text; 0 or less if it is over."""
        assert self._brief is not None
        new = path[len(self._brief.prompt) :]
        if len(new) >= self._brief.max_tokens:
            return 0
        return self._brief.max_lines - sum(self._token_bytes[token].count(b"\n") for token in new)

    def _guesses(self, path: TokenPath, head: bytes, places: Places) -> list[_Guess]:
        """The tokens that texts and the model's own past speak for.

        What both say makes one kind together, so that it is learned what it is worth if they agree.
        """
        assert self._brief is not None
        method, history = self._brief.method, path[-HISTORY:]
        found = self._lookup.after(history)[:MOST_FOLLOWED] if method in LOOKING_UP else []
        texts = {each.token: (rank, each) for rank, each in enumerate(found)}
        length, likely = self._likely(path, places)
        guesses = []
        for token in [*texts, *(token for token in likely if token not in texts)]:
            rank, text = texts.get(token, (0, Followed(token, 0, 0.0)))
            share = likely.get(token, 0.0)
            by_text = (text.length, _coarse(text.share), rank) if text.length else None
            kind = (by_text, (length, _coarse(share)) if length else None, min(len(head), 3))
            doubt = 1 - text.share * min(0.95, 0.25 + 0.1 * text.length) if text.length else 1.0
            prior = 1 - doubt * (1 - share * (0.35 + 0.1 * length))
            guesses.append(_Guess(token, self._acceptance.share(kind, prior), kind))
        return guesses

    def _likely(self, path: TokenPath, places: Places) -> tuple[int, Likely]:
        """What the model's past says of the next token, and behind how many tokens it said so; 0: nothing."""
        assert self._brief is not None
        method = self._brief.method
        if method == "lookup":
            return 0, {}
        if method == "nearest":
            likely = followed(path, places)
            return (NEAREST_LENGTH if likely else 0), likely
        length, likely = self._seen[method].after(path[-HISTORY:])
        return length, drawn(likely, STAND_DRAWN, self._random) if method == "stand" else likely


def _coarse(share: float) -> int:
    """The quarter that a share falls in."""
    return min(3, int(share * 4))
