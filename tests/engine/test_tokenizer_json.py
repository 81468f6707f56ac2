"""tokenizer.json: encodings equal Hugging Face's own; settings that are not understood are refused."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from engine.errors import ModelCorrupt, ModelUnsupported
from engine.tokenizers import tokenizer_json
from engine.tokenizers.tokenizer_json import tokenizer_from_json
from tests.engine.corpus import CODE, STDLIB, TORTURE

DATA = Path(__file__).parents[3] / "shared/data/tokenizers/hf"
TEXTS = [CODE.decode(), TORTURE.decode(), STDLIB.decode()[:8000]]


def pieces(seed: int, count: int = 1500) -> list[str]:
    """Random cuts of the texts, in NFC: a normaliser is left out, see the module."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        text = rng.choice(TEXTS)
        start = rng.randrange(len(text))
        found.append(unicodedata.normalize("NFC", text[start : start + rng.randrange(1, 50)]))
    return found


def trained_on(stages: tuple[str, ...]) -> tokenizers.Tokenizer:
    """A small byte-level tokenizer of Hugging Face's with these stages, trained here."""
    parts: list[Any] = []
    for stage in stages:
        if stage == tokenizer_json._DIGITS:
            parts.append(pre_tokenizers.Digits(individual_digits=True))
        elif stage == tokenizer_json._NUMBERS:
            parts.append(pre_tokenizers.Digits(individual_digits=False))
        elif stage == tokenizer_json._MARKS:
            parts.append(pre_tokenizers.Punctuation(behavior="contiguous"))
        elif stage == tokenizer_json._GPT2_WORDS:
            parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True))
        elif stage == tokenizer_json._BYTE_LEVEL:
            parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        else:
            parts.append(pre_tokenizers.Split(tokenizers.Regex(stage), behavior="isolated"))
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = parts[0] if len(parts) == 1 else pre_tokenizers.Sequence(parts)
    trainer = trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|end|>"]
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def fallback_tokenizer() -> tokenizers.Tokenizer:
    """A small one of the other family, with a dummy space and byte fallback."""
    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.ByteFallback()
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>", *fallback], limit_alphabet=60)
    tokenizer.train_from_iterator(TEXTS, trainer)
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] == "<unk>"]
    return tokenizers.Tokenizer.from_str(json.dumps(data))


Saved = Callable[[tokenizers.Tokenizer], Path]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    def save(tokenizer: tokenizers.Tokenizer) -> Path:
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        return tmp_path / "tokenizer.json"

    return save


def assert_same(path: Path, theirs: tokenizers.Tokenizer, seed: int) -> None:
    ours = tokenizer_from_json(path)
    for text in [*TEXTS, *pieces(seed)]:
        text = unicodedata.normalize("NFC", text).replace("<|", "< |")  # theirs parses special tokens
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert list(ours.encode((ours.text_start if text else b"") + text.encode())) == expected, text


@pytest.mark.parametrize(
    "stages", tokenizer_json._PRETOKENIZERS, ids=list(tokenizer_json._PRETOKENIZERS.values())
)
def test_byte_level_equals_hugging_face(stages: tuple[str, ...], saved: Saved) -> None:
    theirs = trained_on(stages)
    assert_same(saved(theirs), theirs, seed=1)


def test_byte_fallback_equals_hugging_face(saved: Saved) -> None:
    theirs = fallback_tokenizer()
    assert_same(saved(theirs), theirs, seed=2)


def test_command_r_is_single_digits_behind_nfc(saved: Saved) -> None:
    theirs = trained_on((tokenizer_json._DIGITS, tokenizer_json._GPT2_WORDS))
    theirs.normalizer = normalizers.NFC()
    assert_same(saved(theirs), theirs, seed=4)


def test_falcons_separated_digits_are_refused_where_a_token_joins_them(saved: Saved) -> None:
    """The stages of its file, but a vocabulary that was trained with other ones."""
    falcon = next(stages for stages, name in tokenizer_json._PRETOKENIZERS.items() if name == "falcon")
    path, stages = saved(trained_on((tokenizer_json._BYTE_LEVEL,))), json.loads(trained_on(falcon).to_str())
    mixed = json.loads(path.read_text()) | {"pre_tokenizer": stages["pre_tokenizer"]}
    path.write_text(json.dumps(mixed))
    with pytest.raises(ModelUnsupported, match="joins digits with other characters"):
        tokenizer_from_json(path)


@pytest.mark.parametrize("name", ["qwen3", "llama2"])
def test_known_files_equal_hugging_face(name: str) -> None:
    path = DATA / name / "tokenizer.json"
    if not path.exists():
        pytest.skip(f"no {name}/tokenizer.json in shared/data/tokenizers/hf, beside the checkout")
    assert_same(path, tokenizers.Tokenizer.from_file(str(path)), seed=3)


def test_special_tokens_are_plain_text(saved: Saved) -> None:
    ours = tokenizer_from_json(saved(trained_on((tokenizer_json._GPT2_WORDS,))))
    assert ours.vocab.decode(ours.encode(b"a<|end|>b")) == b"a<|end|>b"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "its normalizer is 'Lowercase'"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "its pretokenizer is not known: Whitespace"),
        ({"pre_tokenizer": None}, "its pretokenizer is not known: none"),
        ({"model": {"type": "Unigram", "vocab": {"a": 0}}}, "its model is 'Unigram', not BPE"),
    ],
)
def test_what_is_not_understood_is_refused(change: dict[str, Any], said: str, saved: Saved) -> None:
    path = saved(trained_on((tokenizer_json._GPT2_WORDS,)))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelUnsupported, match=said):
        tokenizer_from_json(path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": {}}', '"text"'])
def test_a_file_that_is_none(content: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(ModelCorrupt, match=r"is not a tokenizer\.json"):
        tokenizer_from_json(path)
