"""Real vocabularies: llama.cpp's reference encodings, its own tokenizer, and masks on all of them."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest

from engine.backends.base import StopSignal
from engine.backends.fake import FakeBackend, random_table
from engine.cache import Scorer
from engine.covers import CoverSpace
from engine.models.gguf import read_metadata
from engine.models.store import resolve
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.gguf_family import tokenizer_from_metadata
from tests.engine.corpus import CODE, STDLIB, TORTURE
from tests.engine.llama_tokenizer import LlamaTokenizer

DATA = Path(__file__).parents[3] / "shared/data/tokenizers"
NAMES = ("gpt-2", "starcoder", "refact", "qwen2", "llama-bpe", "deepseek-coder", "deepseek-llm")
NAMES += ("llama-spm", "phi-3", "gemma-4")
DIFFERENT = {
    **dict.fromkeys(("llama-spm", "phi-3", "gemma-4"), (b"\xe2\x96\x81",)),
    "deepseek-llm": ("\u3000".encode(),),
}
"""Texts that llama.cpp takes otherwise: a literal ▁ as a space, a wide space as no white space."""
DEFAULT = "default model"
SEPARATOR = "\n__ggml_vocab_test__\n"


@cache
def tokenizer_of(name: str) -> Tokenizer:
    if name == DEFAULT:
        return tokenizer_from_metadata(read_metadata(resolve().path))
    path = DATA / f"ggml-vocab-{name}.gguf"
    if not path.exists():
        pytest.skip(f"no vocabulary {path.name} in shared/data/tokenizers, beside the checkout")
    return tokenizer_from_metadata(read_metadata(path))


ALL = [*NAMES, pytest.param(DEFAULT, marks=pytest.mark.model)]
MOSTLY_LONG = [*(pytest.param(name, marks=pytest.mark.long) for name in NAMES), ALL[-1]]


@pytest.mark.parametrize("name", NAMES)
def test_reference_encodings(name: str) -> None:
    tokenizer = tokenizer_of(name)
    source = DATA / f"ggml-vocab-{name}.gguf"
    texts = Path(f"{source}.inp").read_bytes().decode().split(SEPARATOR)
    lines = Path(f"{source}.out").read_text().splitlines()
    expected = [tuple(map(int, line.split())) for line in lines]
    assert len(expected) >= len(texts) - 1 > 20
    for text, tokens in zip(texts, expected, strict=False):
        start = tokenizer.text_start if text else b""
        assert tokenizer.encode(start + text.encode()) == tokens, text


@pytest.mark.parametrize("name", ALL)
def test_successors_are_those_that_encode_back(name: str) -> None:
    tokenizer, rng, checked = tokenizer_of(name), random.Random(11), 0
    vocab = tokenizer.vocab
    common = [int(vocab.row_of[t]) for t in tokenizer.encode(STDLIB[:20_000] + TORTURE)]
    while checked < 10_000:
        text = rng.choice([STDLIB, CODE, TORTURE, TORTURE])
        start = rng.randrange(len(text) - 1)
        for context in tokenizer.encodings(text[start : start + rng.randrange(60)]):
            allowed = tokenizer.successors(context)
            rows = [rng.randrange(vocab.rows) for _ in range(20)] + rng.sample(common, 20)
            for head in (b" ", b"'", b"\n", b"\r", b"\t", b"e", b"l", b"1", b"\xc3", b"\x80", b"\xe2\x80"):
                low, high = vocab.prefix_range(head)
                rows += [rng.randrange(low, high)] if low < high else []
            for row in rows:
                path = (*context, int(vocab.order[row]))
                assert tokenizer.is_canonical(path) == bool(allowed[row]), (vocab.decode(path), path)
            checked += len(rows)


@pytest.mark.parametrize("name", ALL)
def test_the_canonical_path_of_a_text_is_allowed_token_by_token(name: str) -> None:
    tokenizer = tokenizer_of(name)
    for text in (TORTURE, CODE, STDLIB[:1500]):
        path = tokenizer.encode(text)
        for end, token in enumerate(path):
            row = tokenizer.vocab.row_of[token]
            assert tokenizer.successors(path[:end])[row], tokenizer.vocab.decode(path[: end + 1])[-30:]


@pytest.mark.parametrize("name", MOSTLY_LONG)
def test_after_every_byte_the_canonical_path_is_in_the_tree(name: str) -> None:
    """Claim 11: one of the covers begins the whole text's tokens, and all of them start with the tail."""
    tokenizer, decode = tokenizer_of(name), tokenizer_of(name).vocab.decode
    backend = FakeBackend(random_table(len(tokenizer.vocab), seed=1), len(tokenizer.vocab))
    space = CoverSpace(tokenizer, Scorer(backend), (), StopSignal())
    for text in (TORTURE[:24], TORTURE[-24:], CODE[60:90]):
        path = tokenizer.encode(text)
        for end in range(3, len(text) - 3):
            state = space.open((0,), text[:end])
            covers = [(*state.settled, *cover.tokens) for cover in state.covers()]
            assert any(path[: len(cover)] == cover for cover in covers), text[:end]
            assert all(decode(cover).startswith(text[:end]) for cover in covers), text[:end]
            assert all(len(decode(cover[:-1])) < end for cover in covers), text[:end]


@pytest.mark.parametrize("name", ALL)
def test_reachable_tokens_are_those_that_encode_to_themselves(name: str) -> None:
    tokenizer = tokenizer_of(name)
    allowed = tokenizer.successors(())
    for row in random.Random(12).sample(range(tokenizer.vocab.rows), 6000):
        token = int(tokenizer.vocab.order[row])
        assert tokenizer.is_canonical((token,)) == bool(allowed[row]), tokenizer.vocab.token_bytes[token]


@pytest.mark.parametrize("name", ALL)
def test_a_newline_pair_before_a_word_is_possible(name: str) -> None:
    """Blank lines: two newlines are one token alone, and two tokens before a word (GPT-2's family)."""
    tokenizer = tokenizer_of(name)
    for text in (b"x = 1\n\ndef", b"if x:\n\t\treturn", b"a  1", b"a   {"):
        path = tokenizer.encode(text)
        for end in range(len(path)):
            assert tokenizer.successors(path[:end])[tokenizer.vocab.row_of[path[end]]], text


def llama_path(name: str) -> Path:
    return resolve().path if name == DEFAULT else DATA / f"ggml-vocab-{name}.gguf"


@pytest.mark.parametrize("name", ALL)
def test_encoding_equals_llama_cpps(name: str) -> None:
    """On source code, torture text and random cuts of it."""
    tokenizer = tokenizer_of(name)
    theirs = LlamaTokenizer(llama_path(name))
    folder = Path(random.__file__).parent
    sources = sorted(folder.glob("[a-d]*.py" if name == DEFAULT else "[ab]*.py"))
    sources += sorted((folder / "test").glob("test_unicode*.py"))
    texts = [path.read_bytes() for path in sources]
    rng, chars = random.Random(13), TORTURE.decode()
    starts = [rng.randrange(len(chars)) for _ in range(2000)]
    cuts = [(chars[start : start + rng.randrange(30)] + rng.choice(chars)).encode() for start in starts]
    for text in [TORTURE, CODE, *(text for text in texts if _is_utf8(text)), *cuts]:
        if not any(spelled in text for spelled in DIFFERENT.get(name, ())):
            assert tokenizer.encode(tokenizer.text_start + text) == theirs.encode(text), text[:80]
    theirs.close()


def _is_utf8(text: bytes) -> bool:
    try:
        return bool(text.decode())
    except UnicodeDecodeError:
        return False


@pytest.mark.parametrize("name", ["qwen2", "llama-bpe", "starcoder", "deepseek-coder"])
def test_of_two_hundred_tokens_of_source_all_but_one_are_of_common_groups(name: str) -> None:
    cuts = (tokenizer := tokenizer_of(name))._cuts  # type: ignore[attr-defined]
    common = set(cuts.common_groups)
    groups = [group for token in tokenizer.encode(CODE + STDLIB) if (group := cuts.alone_of[token]) >= 0]
    assert len(groups) > 15_000 and sum(group not in common for group in groups) <= len(groups) / 200
