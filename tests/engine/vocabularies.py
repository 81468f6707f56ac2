"""Small byte-level vocabularies, trained here so that tests need no download."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from engine.tokenizers.byte_level import ByteLevelBPE
from engine.tokenizers.gguf_family import _ALPHABET
from engine.tokenizers.pretokenize import Pretokenizer
from engine.vocab import TokenKind, Vocab


@dataclass(frozen=True)
class Trained:
    """A vocabulary: single bytes, merged tokens in order of rank, then control tokens."""

    tokenizer: ByteLevelBPE
    texts: list[bytes]
    merges: list[tuple[bytes, bytes]]
    control: tuple[str, ...]

    @property
    def gguf_tokens(self) -> list[str]:
        """As GGUF spells them."""
        return [spelled(text) for text in self.texts] + list(self.control)

    @property
    def gguf_merges(self) -> list[str]:
        return [f"{spelled(left)} {spelled(right)}" for left, right in self.merges]


def spelled(text: bytes) -> str:
    """`text` in GPT-2's printable alphabet."""
    letters = {byte: letter for letter, byte in _ALPHABET.items()}
    return "".join(letters[byte] for byte in text)


def train_merges(words: Counter[bytes], count: int) -> list[tuple[bytes, bytes]]:
    """Byte pair encoding's training: the most frequent pair is merged, `count` times."""
    parts = {word: [word[i : i + 1] for i in range(len(word))] for word in words}
    merges: list[tuple[bytes, bytes]] = []
    for _ in range(count):
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, symbols in parts.items():
            for pair in pairwise(symbols):
                pairs[pair] += words[word]
        if not pairs:
            break
        left, right = best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for symbols in parts.values():
            for i in range(len(symbols) - 2, -1, -1):
                if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == best:
                    symbols[i : i + 2] = [left + right]
    return merges


def trained(
    pretokenizer: str,
    corpus: bytes,
    merges: int,
    control: tuple[str, ...] = (),
    missing: bytes = b"",
    whole: tuple[bytes, ...] = (),
    added: str = "",
) -> Trained:
    """A tokenizer trained on `corpus`; it cannot express the bytes in `missing`.

    `whole` tokens are formed by no merge: they stand for words where merges are ignored. Each character of
    `added` has a token that was added for it.
    """
    cut = Pretokenizer(pretokenizer, added)
    text = corpus.decode("utf-8", "surrogateescape")
    words = Counter(word.encode("utf-8", "surrogateescape") for word in cut.split(text))
    pairs = train_merges(words, merges)
    singles = [bytes([byte]) for byte in range(256) if byte not in missing]
    texts = list(dict.fromkeys([*singles, *(left + right for left, right in pairs), *whole]))
    number = {text: token for token, text in enumerate(texts)}
    kinds = [TokenKind.NORMAL] * len(texts) + [TokenKind.CONTROL] * len(control)
    kinds += [TokenKind.USER_DEFINED] * len(added)
    vocab = Vocab([*texts, *(b"" for _ in control), *map(str.encode, added)], kinds)
    ids = [(number[left], number[right], number[left + right]) for left, right in pairs]
    tokenizer = ByteLevelBPE(vocab, ids, cut, ignore_merges=bool(whole))
    return Trained(tokenizer, texts, pairs, control)
