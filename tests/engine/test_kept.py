"""A tokenizer read back is the tokenizer; anything doubtful is derived anew."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from engine.tokenizers import kept
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.kept import MOST_FILES, kept_tokenizer, vocabulary_digest
from engine.tokenizers.pretokenize import Pretokenizer
from tests.engine.vocabularies import trained


def byte_level() -> dict[str, Any]:
    corpus = Path(__file__).read_bytes()
    vocabulary = trained("gpt-2", corpus, 120, control=("<|end|>",))
    texts = vocabulary.gguf_tokens
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": [1] * len(vocabulary.texts) + [3] * len(vocabulary.control),
        "tokenizer.ggml.merges": vocabulary.gguf_merges,
    }


def sentencepiece() -> dict[str, Any]:
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "ab", "▁a", "ba", "▁ab"]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": [2] + [6] * 256 + [1] * 7,
        "tokenizer.ggml.scores": [0.0] * 257 + [-10.0, -10.0, -10.0, -1.0, -2.0, -3.0, -4.0],
    }


def answers(tokenizer: Tokenizer, seed: int) -> list[Any]:
    source = random.Random(seed)
    found: list[Any] = []
    for _ in range(20):
        text = "".join(source.choices(["ab", "a", " ", "  ", "b", "é", "\n", "1", "'s"], k=8)).encode()
        tokens = tokenizer.encode(text)
        found += [tokens, tokenizer.encode_stable(text), tokenizer.successors(tokens).tolist()]
    return found


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever tables are derived."""
    made: list[str] = []
    derive = kept.tokenizer_from_metadata

    def counted(metadata: dict[str, Any]) -> Tokenizer:
        made.append(metadata["tokenizer.ggml.model"])
        return derive(metadata)

    monkeypatch.setattr(kept, "tokenizer_from_metadata", counted)
    return made


@pytest.mark.parametrize("family", [byte_level, sentencepiece])
def test_what_is_read_back_answers_as_what_was_derived(
    tmp_path: Path, derivations: list[str], family: Any
) -> None:
    first = kept_tokenizer(family(), tmp_path)
    again = kept_tokenizer(family(), tmp_path)
    assert len(derivations) == 1 and again is not first
    assert answers(again, 7) == answers(first, 7)


def test_another_vocabulary_has_another_digest(tmp_path: Path, derivations: list[str]) -> None:
    one, other = byte_level(), byte_level()
    other["tokenizer.ggml.merges"] = other["tokenizer.ggml.merges"][:-1]
    renamed = one | {"tokenizer.ggml.pre": "llama-bpe"}
    assert len({vocabulary_digest(one), vocabulary_digest(other), vocabulary_digest(renamed)}) == 3
    assert vocabulary_digest(one | {"general.name": "x"}) == vocabulary_digest(one)
    kept_tokenizer(one, tmp_path)
    kept_tokenizer(other, tmp_path)
    assert len(derivations) == 2


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def writable_by_others(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize("harm", [damaged, writable_by_others, Path.unlink])
def test_a_doubtful_file_is_derived_anew(tmp_path: Path, derivations: list[str], harm: Any) -> None:
    first = kept_tokenizer(byte_level(), tmp_path)
    (path,) = tmp_path.glob("*.tables")
    assert path.stat().st_mode & 0o777 == 0o600
    harm(path)
    assert answers(kept_tokenizer(byte_level(), tmp_path), 3) == answers(first, 3)
    assert len(derivations) == 2


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, derivations: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        assert kept_tokenizer(byte_level(), tmp_path / "file" / "tables").encode(b"ab")
    assert len(derivations) == 2


def test_few_files_are_kept(tmp_path: Path) -> None:
    for count in range(MOST_FILES + 2):
        metadata = byte_level()
        metadata["tokenizer.ggml.merges"] = metadata["tokenizer.ggml.merges"][: 100 + count]
        kept_tokenizer(metadata, tmp_path)
    assert len(list(tmp_path.iterdir())) == MOST_FILES


def test_what_most_texts_need_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a token by itself nothing is cut any more, be the tables read back or just derived."""
    asked: list[str] = []
    cuts = Pretokenizer.cuts

    def counted(pretokenizer: Pretokenizer, text: str) -> list[int]:
        asked.append(text)
        return cuts(pretokenizer, text)

    for turn in ("derived", "read back"):
        tokenizer = kept_tokenizer(byte_level(), tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(Pretokenizer, "cuts", counted)
            tokenizer.successors(())
            for token in tokenizer.vocab.order.tolist():
                tokenizer.successors((token,))
            assert not asked, (turn, asked[:3])
            tokenizer.successors(tokenizer.encode(b"x \t \n \t\t \n \t "))
            assert asked, "nothing was counted"
        asked.clear()
