"""Byte-level BPE (GPT-2's family): canonical encoding of bytes and the canonical successors of a context.

A context's successors need two questions answered for all tokens t at once: where does the pretokenizer
cut context + t, and does a merge cross the boundary if it does not cut there? The cuts depend on t only
through its shape (`shapes`), of which there are some hundred; the merges are `pairs.successors`.

Some families *ignore merges*: a word that is a token is that token, whatever BPE would make of it. This
matters for *whole* tokens, those that no merges form: such a token is a word by itself or nothing, and what
BPE makes of its bytes is not final, though it may go on. Tokens *added* for single characters (DeepSeek's)
are of the same kind: the pretokenizer makes words of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from engine.errors import InputError
from engine.kernels import Forest, SuccessorRule, Successors, successor_mask
from engine.tokenizers.base import Alone, Encoding
from engine.tokenizers.bpe import MergeTable
from engine.tokenizers.cuts import VerdictArray
from engine.tokenizers.masks import MaskCache
from engine.tokenizers.pairs import Merge, PairTable
from engine.tokenizers.pretokenize import Pretokenizer
from engine.tokenizers.utf8 import continuing_bytes, partial_length
from engine.tokenizers.verdicts import Judge
from engine.vocab import BoolArray, IntArray, TokenKind, Vocab

_MOST_ENDS = 4096
"""Contexts whose ends are remembered."""
_NEWLINE, _LEAST_LEAD = 0x0A, 0xC0
"""Bytes; the least that begins a character of several."""
_OF_TWO_LETTERS = b"rvlRVL"
"""First letters of contractions that have two."""


class ByteLevelBPE:
    """The tokenizer of one model. Implements `tokenizers.base.Tokenizer`."""

    text_start = b""

    def __init__(
        self,
        vocab: Vocab,
        merges: Sequence[Merge],
        pretokenizer: Pretokenizer,
        *,
        ignore_merges: bool = False,
    ) -> None:
        """`merges` in the order of their ranks."""
        self.vocab = vocab
        self._pretokenizer = pretokenizer
        self._symbols = vocab.byte_tokens()
        self.missing_bytes = frozenset(set(range(256)) - self._symbols.keys())
        candidates = np.array(merges, dtype=np.int64).reshape(-1, 3)
        ranks = np.arange(len(candidates))
        self._merges = MergeTable(candidates, ranks)
        self._encode_word = lru_cache(maxsize=1 << 16)(self._bpe)
        self._pairs = PairTable(vocab, np.array(sorted(self._symbols.values())), candidates, ranks)
        self._whole = (self._whole_tokens() if ignore_merges else {}) | self._added_tokens()
        self._whole_ids = frozenset(self._whole.values())
        self._whole_in_order = sorted(self._whole)
        self._judge = Judge(vocab, pretokenizer, self._pairs, self._whole)
        self._cuts = self._judge.cuts
        self._continuation_rows = vocab.prefix_range(b"\x80")[0], vocab.prefix_range(b"\xc0")[0]
        self._final_after = MaskCache(self._final_successors)
        self._successors_of = MaskCache(self._successors_after)
        self._rule_after = lru_cache(maxsize=4096)(self._find_rule)
        self._final_rule_after = lru_cache(maxsize=4096)(self._find_final_rule)
        self._ends: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._end_of = lru_cache(maxsize=4096)(self._cut_end)

    def _whole_tokens(self) -> dict[bytes, int]:
        """Bytes → the token that no merges form."""
        unreachable = np.flatnonzero(~self._pairs.reachable[self.vocab.order]).tolist()
        return {self.vocab.sorted_bytes[row]: int(self.vocab.order[row]) for row in reversed(unreachable)}

    def _added_tokens(self) -> dict[bytes, int]:
        """Bytes → the token that was added for them; the pretokenizer makes words of them."""
        added = [t for t, kind in enumerate(self.vocab.kinds) if kind == TokenKind.USER_DEFINED]
        return {self.vocab.token_bytes[token]: token for token in added if self.vocab.token_bytes[token]}

    def foresee(self) -> None:
        """Derives what most texts will need; worth it for tables that are kept."""
        self._judge.foresee()

    # -- encoding ---------------------------------------------------------------------------------

    def _bpe(self, word: bytes) -> tuple[int, ...]:
        """The tokens of one word. Raises KeyError for a byte that the vocabulary cannot express."""
        if word in self._whole:
            return (self._whole[word],)
        return self._merges.encode([self._symbols[byte] for byte in word])

    def encode(self, text: bytes) -> tuple[int, ...]:
        """Canonical tokens of `text`; if it ends inside a character, under its first completion.

        Raises InputError for a byte that the vocabulary cannot express.
        """
        return self.encode_stable(text).tokens

    def encode_stable(self, text: bytes) -> Encoding:
        """`encode` with the stable part: all but its unstable words."""
        completion = self._pretokenizer.completions(text)[0]
        words = self._words(text, completion)
        encoded = self._encode_words(words)
        stable = self._stable_words(words, completion != "")
        return Encoding(
            tokens=tuple([t for tokens in encoded for t in tokens]),
            stable_tokens=sum(map(len, encoded[:stable])),
            stable_bytes=sum(map(len, words[:stable])),
        )

    def _stable_words(self, words: Sequence[bytes], cut_character: bool = False) -> int:
        """How many words at the beginning no continuation can change."""
        last = len(words) - cut_character
        return self._pretokenizer.stable_words([w.decode("utf-8", "surrogateescape") for w in words[:last]])

    def _encode_words(self, words: Sequence[bytes]) -> list[tuple[int, ...]]:
        try:
            return [self._encode_word(word) for word in words]
        except KeyError as error:
            raise InputError(
                f"the model's vocabulary cannot express the byte 0x{error.args[0]:02x} in the text"
            ) from None

    def _finals(self, text: bytes) -> list[tuple[int, ...]]:
        """All final T with κ(T) == text."""
        return list(
            dict.fromkeys(self._path(text, completion) for completion in self._pretokenizer.completions(text))
        )

    def encodings(self, text: bytes) -> list[tuple[int, ...]]:
        """All canonical T with κ(T) == text, the final ones first. Raises InputError as `encode`."""
        found = self._finals(text)
        whole = text[: len(text) - partial_length(text)].decode("utf-8", "surrogateescape")
        completed = [
            (completion, follower)
            for completion in self._pretokenizer.completions(text)
            for follower in ("", *self._pretokenizer.followers(whole + completion))
        ]
        found += [
            path for path in self._cut_like(text, completed) if path not in found and self._goes_on(path)
        ]
        if partial_length(text):
            raw = text.decode("utf-8", "surrogateescape")
            broken = [("", follower) for follower in ("", *self._pretokenizer.followers(raw))]
            others = [path for path in self._cut_like(text, broken) if path not in found]
            found += [path for path in others if self._goes_on_broken(path)]
        return found

    def _cut_like(self, text: bytes, readings: list[tuple[str, str]]) -> list[tuple[int, ...]]:
        """Tokens of `text`, its end read as some (completion, follower)."""
        paths = [self._path(text, *reading) for reading in readings]
        return list(dict.fromkeys(paths + (self._unwhole(text, readings) if self._whole else [])))

    def _unwhole(self, text: bytes, readings: list[tuple[str, str]]) -> list[tuple[int, ...]]:
        """Tokens of `text` as if its last word were the beginning of a longer one, where that matters."""
        found = []
        for completion, follower in readings:
            words = self._words(text, completion, follower)
            if words and words[-1] in self._whole:
                before = tuple(t for tokens in self._encode_words(words[:-1]) for t in tokens)
                symbols = [self._symbols[byte] for byte in words[-1]]
                found.append(before + self._merges.encode(symbols))
        return found

    def is_final(self, tokens: Sequence[int]) -> bool:
        """Whether the text may end after `tokens`: decode and encode again."""
        try:
            return tuple(tokens) in self._finals(self.vocab.decode(tokens))
        except InputError:
            return False

    def is_canonical(self, tokens: Sequence[int]) -> bool:
        """Decode and encode again, as if each kind of text followed."""
        try:
            return tuple(tokens) in self.encodings(self.vocab.decode(tokens))
        except InputError:
            return False

    def _path(self, text: bytes, completion: str, follower: str = "") -> tuple[int, ...]:
        words = self._words(text, completion, follower)
        return tuple(t for tokens in self._encode_words(words) for t in tokens)

    def _words(self, text: bytes, completion: str = "", follower: str = "") -> list[bytes]:
        """The words of `text`, cut as if `follower` came next.

        If it ends inside a character, cut as if that were `completion`; else that is empty.
        """
        partial = text[len(text) - partial_length(text) :] if completion else b""
        whole = text[: len(text) - len(partial)]
        left, words = len(whole) + len(completion.encode()), []
        split = self._pretokenizer.split(whole.decode("utf-8", "surrogateescape") + completion + follower)
        for word in split:
            words.append(word.encode("utf-8", "surrogateescape")[:left])
            left -= len(words[-1])
            if left == 0:
                break
        if completion:
            words[-1] = words[-1][: len(words[-1]) - len(completion.encode())] + partial
        return words

    # -- successors -------------------------------------------------------------------------------

    def successors(self, tokens: Sequence[int]) -> BoolArray:
        """(vocab.rows,): the tokens t for which tokens + [t] is canonical, given that `tokens` is.

        tokens + [t] is canonical if it is final, or if some token makes it final.
        """
        return self._successors_of(self._context_end(tuple(tokens)))

    def successor_rule(self, tokens: Sequence[int]) -> Successors:
        """See `Tokenizer.successor_rule`: a rule for most contexts."""
        end = self._context_end(tuple(tokens))
        rule = self._rule_of_one(end[0]) if len(end) == 1 else self._rule_after(end)
        return self._successors_of(end) if rule is None else rule

    def context_end(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """See `Tokenizer.context_end`."""
        return self._context_end(tuple(tokens))

    def may_end(self, tokens: Sequence[int]) -> bool:
        """Whether the text may end after `tokens`, given that they are canonical.

        Then so are all but the last, and behind which tokens the text may end there is mostly known.
        """
        if not tokens:
            return True
        end, row = self._context_end(tuple(tokens[:-1])), int(self.vocab.row_of[tokens[-1]])
        rule = self._final_rule_after(end)
        final = self._final_after(end)[row : row + 1] if rule is None else successor_mask(rule, row, row + 1)
        return bool(final[0])

    def _context_end(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """The last tokens, from the first word on that can still change.

        The last one is among them. That of all but the last token is known, mostly. What stands before it
        nothing can change any more, so the same words are cut behind it alone.
        """
        if len(tokens) < 2:
            return tokens
        if (end := self._ends.get(tokens)) is None:
            before = tokens[:-1] if len(tokens) == 2 else self._ends.get(tokens[:-1])
            end = self._find_context_end(tokens) if before is None else self._find_end(before + tokens[-1:])
            if len(self._ends) == _MOST_ENDS:
                self._ends.clear()
            self._ends[tokens] = end
        return end

    def _find_context_end(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        count = 8
        while count < len(tokens):
            end = tokens[-count:]
            words, skipped = self._stable_part(end)
            if words > 1 and self._may_begin(tokens, len(tokens) - count):
                return self._behind(end, skipped)
            count *= 2
        return self._end_of(tokens)

    def _find_end(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """`_context_end` of tokens before which no word begins that can still change."""
        if len(tokens) == 2 and (stable := self._cuts.stable_tokens(*tokens)) is not None:
            return tokens[stable:]
        return self._end_of(tokens)

    def _cut_end(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """`_find_end` by their text."""
        return self._behind(tokens, self._stable_part(tokens)[1])

    def _stable_part(self, tokens: tuple[int, ...]) -> tuple[int, int]:
        """How many words of their text no continuation can change, and how many bytes these are."""
        text = self.vocab.decode(tokens)
        whole = text[: len(text) - partial_length(text)].decode("utf-8", "surrogateescape")
        words, size = self._pretokenizer.stable_part(whole)
        return words, size if text.isascii() else len(whole[:size].encode("utf-8", "surrogateescape"))

    def _may_begin(self, tokens: Sequence[int], index: int) -> bool:
        before, after = (
            self.vocab.token_bytes[tokens[k]].decode("utf-8", "surrogateescape") for k in (index - 1, index)
        )
        return self._pretokenizer.may_begin_between(before, after)

    def _behind(self, end: tuple[int, ...], skipped: int) -> tuple[int, ...]:
        """`end` without the tokens that begin in its first `skipped` bytes."""
        index = 0
        while skipped > 0:
            skipped -= len(self.vocab.token_bytes[end[index]])
            index += 1
        return end[index:]

    def _find_rule(self, tokens: tuple[int, ...]) -> SuccessorRule | None:
        """The rule that tells the successors of a `_context_end`; None if there is none so simple."""
        rule, judged = self._final_rule_after(tokens), self._judge.on(tokens)
        may_merge = bool(tokens) and bool(self._judge.merges_into_broken[tokens[-1]])
        return rule if judged.is_simple or (judged.is_simple_without_merge and not may_merge) else None

    def _rule_of_one(self, token: int) -> SuccessorRule | None:
        """`_find_rule` of a token by itself, by its shape: 97 of 100 contexts are such."""
        group = self._cuts.alone_of[token]
        if self._whole or group < 0:
            return self._rule_after((token,))
        told = self.rule_alone(group)
        if told is None or not (told[2] or not self._judge.merges_into_broken[token]):
            return None
        return SuccessorRule(told[0], token, told[1])

    @property
    def alone(self) -> Alone:
        """See `Tokenizer.alone`."""
        return self._judge.alone

    def stable_alone(self, left: int, right: int) -> int | None:
        """See `Tokenizer.stable_alone`."""
        return self._judge.stable_alone(left, right)

    def joined_alone(self, left: int, right: int) -> int | None:
        """See `Tokenizer.joined_alone`."""
        return self._judge.joined_alone(left, right)

    def rule_alone(self, group: int) -> tuple[VerdictArray, Forest, bool] | None:
        """See `Tokenizer.rule_alone`."""
        return self._judge.rule_alone(group)

    def _find_final_rule(self, tokens: tuple[int, ...]) -> SuccessorRule | None:
        """`_find_rule` for those behind which the text may end."""
        return None if self._whole or self._is_partial(tokens) else self._rule(tokens)

    def _rule(self, tokens: tuple[int, ...]) -> SuccessorRule:
        """What the cuts and merges allow behind the tokens."""
        return SuccessorRule(self._judge.on(tokens).final, tokens[-1] if tokens else -1, self._pairs.forest)

    def _successors_after(self, tokens: tuple[int, ...]) -> BoolArray:
        if (rule := self._rule_after(tokens)) is not None:
            return successor_mask(rule, 0, self.vocab.rows)
        final, judged = self._final_after(tokens), self._judge.on(tokens)
        is_partial = self._is_partial(tokens)
        if not (is_partial or self._whole or judged.has_recut) and _all(final, judged.doubtful):
            return final
        allowed = final.copy()
        for row in [*self._judge.recut_rows(tokens), *self._spelling_whole(tokens)]:
            if not allowed[row]:
                allowed[row] = self._goes_on((*tokens, int(self.vocab.order[row])))
        for row in self._judge.broken_rows(tokens, allowed):
            allowed[row] = self._goes_on_broken((*tokens, int(self.vocab.order[row])))
        if is_partial:
            self._complete_partial(tokens, allowed, self.is_canonical)
        return allowed

    def _is_partial(self, tokens: tuple[int, ...]) -> bool:
        """Whether their text ends inside a character."""
        return (
            bool(tokens)
            and self.vocab.token_bytes[tokens[-1]][-1:] >= b"\x80"
            and partial_length(self.vocab.decode(tokens[-4:])) > 0
        )

    def _goes_on(self, tokens: tuple[int, ...]) -> bool:
        """Whether some token makes `tokens` final, or canonical if a character is unfinished.

        Or two tokens: in a vocabulary without an s only "'ll" may be left to join an apostrophe to a word.
        """
        end = self._context_end(tokens)
        text = self.vocab.decode(end)
        after = self._successors_of if partial_length(text) else self._final_after
        if after(end).any():
            return True
        letters = [self._symbols[letter] for letter in _OF_TWO_LETTERS if letter in self._symbols]
        return text.endswith(b"'") and any(
            self._final_after(self._context_end((*end, letter))).any() for letter in letters
        )

    def _goes_on_broken(self, tokens: tuple[int, ...]) -> bool:
        """Whether some token makes `tokens` final that does not go on with the character at their end.

        Or two: in a vocabulary without a newline all that follows may be characters that are broken off, too.
        """
        if self._may_follow_broken(tokens):
            return True
        if _NEWLINE in self._symbols:
            return False
        leads = [token for byte, token in self._symbols.items() if byte >= _LEAST_LEAD]
        return any(self._may_follow_broken((*tokens, lead)) for lead in leads)

    def _may_follow_broken(self, tokens: tuple[int, ...]) -> bool:
        """`_goes_on_broken` by one token."""
        end = self._context_end(tokens)
        allowed = self._final_unless_completed(end)
        text = self.vocab.decode(end)
        first, last = continuing_bytes(text[len(text) - partial_length(text) :])
        low, high = self.vocab.prefix_range(bytes([first]))[0], self.vocab.prefix_range(bytes([last]))[1]
        return bool(allowed[:low].any() or allowed[high:].any())

    def _final_successors(self, tokens: tuple[int, ...]) -> BoolArray:
        """(vocab.rows,): the tokens t for which tokens + [t] is final."""
        allowed = self._final_unless_completed(tokens)
        if self._is_partial(tokens):
            self._complete_partial(tokens, allowed, self.is_final)
        return allowed

    def _final_unless_completed(self, tokens: tuple[int, ...]) -> BoolArray:
        """`_final_successors` but for tokens that go on with a character inside which `tokens` end."""
        allowed = successor_mask(self._rule(tokens), 0, self.vocab.rows)
        for row in self._spelling_whole(tokens):
            allowed[row] = allowed[row] and self.is_final([*tokens, int(self.vocab.order[row])])
        return allowed

    def _spelling_whole(self, tokens: tuple[int, ...]) -> list[int]:
        """Rows of the tokens that complete a whole token's bytes with some of the last `tokens`."""
        rows: list[int] = []
        spelled = b""
        for token in reversed(tokens if self._whole else ()):
            spelled = self.vocab.token_bytes[token] + spelled
            index = bisect_left(self._whole_in_order, spelled)
            while index < len(self._whole_in_order) and self._whole_in_order[index].startswith(spelled):
                rest = self._whole_in_order[index][len(spelled) :]
                rows += range(*self.vocab.exact_range(rest, *self.vocab.prefix_range(rest))) if rest else ()
                index += 1
        return rows

    def _complete_partial(
        self, tokens: tuple[int, ...], allowed: BoolArray, test: Callable[[Sequence[int]], bool]
    ) -> None:
        """Tests the tokens that continue the character inside which the context ends, one by one.

        All others leave invalid bytes behind and have been decided as such.
        """
        for row in range(*self._continuation_rows):
            allowed[row] = test([*tokens, int(self.vocab.order[row])])


def _all(mask: BoolArray, rows: IntArray) -> bool:
    """Whether the mask allows all these rows; mostly there are none."""
    return not len(rows) or bool(mask[rows].all())
