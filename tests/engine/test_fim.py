"""Prompts: the anchor, the window, sentinels by id, and bytes that are exactly the text."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from engine.errors import ModelUnsupported
from engine.fim import Budget, Prompt, Template, anchor_of, build_prompt, window_after, window_before
from engine.templates import (
    SPELLINGS,
    separator_token,
    stop_tokens,
    template_from_metadata,
    with_control_tokens,
)
from engine.tokenizers.byte_level import ByteLevelBPE
from engine.tokenizers.gguf_family import tokenizer_from_metadata
from engine.vocab import TokenKind
from tests.engine.vocabularies import trained

WIDE = Budget(1 << 20, 1 << 20)
SENTINELS = ("<PRE>", "<SUF>", "<MID>", "<EOT>")
CODE = b"import os\n\n\ndef area(width, height):\n    # fl\xc3\xa4che\n    return width * hei"
AFTER = b"\n\n\nprint(area(2, 3))\n"


@pytest.fixture(scope="module")
def tokenizer() -> ByteLevelBPE:
    return trained("starcoder", CODE * 3 + AFTER, merges=60, control=SENTINELS, missing=b"\xf5\x00").tokenizer


def templates(tokenizer: ByteLevelBPE) -> dict[str, Template]:
    pre, suf, mid, _ = ((len(tokenizer.vocab) - 4 + k,) for k in range(4))
    return {
        "none": Template("none"),
        "psm": Template("psm", (), pre, suf, mid),
        "suffix first": Template("psm", (), pre, suf, mid, suffix_first=True),
        "spm": Template("spm", (), (), suf, mid, False),
    }


def build(tokenizer: ByteLevelBPE, order: str, prefix: bytes, suffix: bytes, budget: Budget = WIDE) -> Prompt:
    separator = len(tokenizer.vocab) - 1
    return build_prompt(tokenizer, templates(tokenizer)[order], prefix, suffix, budget, separator)


ODD_TEXTS = {
    "plain": (CODE, AFTER),
    "empty prefix": (b"", AFTER),
    "empty suffix": (CODE, b""),
    "empty file": (b"", b""),
    "one letter": (b"x", b""),
    "BOM": (b"\xef\xbb\xbfimport o", b"s\n"),
    "CRLF": (CODE.replace(b"\n", b"\r\n"), AFTER.replace(b"\n", b"\r\n")),
    "huge line": (b"x = '" + b"ab " * 3000, b"'" * 2000),
    "huge tail": (b"first\n" + b"y" * 5000, b""),
    "sentinel text": (b"s = '<PRE> <SUF><MID>" + CODE, b"<MID><EOT>" + AFTER),
    "blank lines": (b"a = 1\n\n   \n\n", b"\n\n"),
    "no newline": (b"a = 1", b"b"),
    "cut character": ("x = 'ü".encode()[:-1], "ü'"[1:].encode()),
    "invalid bytes": (b"a\xff\xfe\x80b\n c", b"\x80\x80"),
}


@pytest.mark.parametrize("order", ["none", "psm", "suffix first", "spm"])
@pytest.mark.parametrize("name", ODD_TEXTS)
def test_the_prompts_bytes_are_the_text(tokenizer: ByteLevelBPE, order: str, name: str) -> None:
    prefix, suffix = ODD_TEXTS[name]
    prompt = build(tokenizer, order, prefix, suffix)
    control = set(range(len(tokenizer.vocab) - 4, len(tokenizer.vocab)))
    sections: list[list[int]] = [[]]
    for token in prompt.fixed:
        if token in control:
            sections.append([])
        else:
            sections[-1].append(token)
    texts = [tokenizer.vocab.decode(section) for section in sections]
    assert prompt.fixed and texts[0] == b""
    if order == "none":
        assert texts[1:] == [prefix[: len(prefix) - len(prompt.tail)]]
    elif order == "psm":
        assert texts[1:] == [prefix[: len(prefix) - len(prompt.tail)], suffix, b""]
    elif order == "suffix first":
        assert texts[1:] == [suffix, prefix[: len(prefix) - len(prompt.tail)], b""]
    else:
        assert texts[1:] == [suffix, prefix[: len(prefix) - len(prompt.tail)]]
    assert prefix.endswith(prompt.tail)


def test_bytes_the_vocabulary_lacks_end_the_shown_text(tokenizer: ByteLevelBPE) -> None:
    assert {0, 0xF5} <= tokenizer.missing_bytes
    prompt = build(tokenizer, "psm", b"gone\xf5kept", b"kept\x00gone\xf5gone")
    assert prompt.tail == b"kept"
    assert tokenizer.vocab.decode(prompt.fixed) == b"kept"
    assert build(tokenizer, "none", b"gone\xf5", b"").tail == b""


@pytest.mark.parametrize("order", ["none", "psm", "suffix first", "spm"])
def test_typing_a_line_only_adds_to_the_end_of_the_prompt(tokenizer: ByteLevelBPE, order: str) -> None:
    line = b"    total = width + height * 12"
    prompts = [build(tokenizer, order, CODE + b"\n" + line[:k], AFTER) for k in range(len(line) + 1)]
    for shorter, longer in pairwise(prompts):
        if order in ("none", "spm"):
            assert longer.fixed[: len(shorter.fixed)] == shorter.fixed
        else:
            assert longer.fixed == shorter.fixed
            assert longer.tail[:-1] == shorter.tail


def test_the_anchor_is_the_start_of_the_last_line_above_that_is_not_blank() -> None:
    assert anchor_of(b"") == 0
    assert anchor_of(b"abc") == 0
    assert anchor_of(b"a = 1\nb") == 0
    assert anchor_of(b"x\na = 1\nb") == 2
    assert anchor_of(b"x\na = 1\n\n  \n\tb") == 2
    assert anchor_of(b"x\r\na = 1\r\n\r\nb") == 3
    assert anchor_of(b"first\n" + b"y" * 2000 + b"\nz") == 6 + 2000 + 1
    assert anchor_of(b"first\n" + b"y" * 2000) == 6


def test_windows_stay_put_in_steps_and_are_never_empty() -> None:
    lines = b"".join(b"line %d of the file\n" % n for n in range(2000))
    for most in (64, 700, 4096):
        starts = {len(lines[:end]) - len(window_before(lines[:end], most)) for end in range(20_000, 20_400)}
        assert len(starts) <= 2 + 400 // (most // 4), most
        for end in range(20_000, 20_400):
            shown = window_before(lines[:end], most)
            assert most // 4 < len(shown) <= most and lines[:end].endswith(shown)
    assert window_before(b"\xc3\xa9" * 900, 801)[:1] == b"\xc3"
    assert window_after(lines, 100).endswith(b"\n") and lines.startswith(window_after(lines, 100))
    assert window_after(b"x" * 500, 100) == b"x" * 100
    assert window_after("é".encode() * 50, 51).decode()


def metadata_for(family: str) -> dict[str, Any]:
    spelling = SPELLINGS[family]
    texts = [spelling.prefix, spelling.suffix, spelling.middle, spelling.start, *spelling.stops]
    tokens = ["a", "b", *dict.fromkeys(text for text in texts if text)]
    return {"tokenizer.ggml.tokens": tokens}


@pytest.mark.parametrize("family", SPELLINGS)
def test_every_familys_template_is_read_from_its_vocabulary(family: str) -> None:
    metadata, spelling = metadata_for(family), SPELLINGS[family]
    tokens = metadata["tokenizer.ggml.tokens"]
    template = template_from_metadata(metadata, family)
    assert template.order == spelling.order and template.suffix_first == spelling.suffix_first
    for path, text in (
        (template.prefix, spelling.prefix),
        (template.suffix, spelling.suffix),
        (template.middle, spelling.middle),
        (template.start, spelling.start),
    ):
        assert [tokens[t] for t in path] == ([text] if text else [])
    assert {tokens[t] for t in stop_tokens(metadata, family)} >= set(spelling.stops) & set(tokens)
    if family != "none":
        with pytest.raises(ModelUnsupported, match="has no token"):
            template_from_metadata({"tokenizer.ggml.tokens": ["a", ""]}, family)


def test_a_gguf_that_names_its_sentinels_is_believed() -> None:
    metadata = {f"tokenizer.ggml.fim_{part}_token_id": n for n, part in enumerate(("pre", "suf", "mid"))}
    metadata |= {"tokenizer.ggml.tokens": ["x", "y", "z", "w", ""], "tokenizer.ggml.eos_token_id": 3}
    assert template_from_metadata(metadata, None) == Template("psm", (), (0,), (1,), (2,))
    assert stop_tokens(metadata, None, ["w", "absent"]) == (0, 1, 2, 3)
    assert separator_token(metadata) == 3
    bos = metadata | {"tokenizer.ggml.bos_token_id": 2, "tokenizer.ggml.add_bos_token": True}
    assert template_from_metadata(bos, None).start == (2,) and separator_token(bos) == 2


def test_no_sentinels_is_no_fim_and_unknown_families_are_refused() -> None:
    assert template_from_metadata({"tokenizer.ggml.tokens": ["a", ""]}, None) == Template("none")
    with pytest.raises(ModelUnsupported, match="unknown FIM template 'klingon'"):
        template_from_metadata({"tokenizer.ggml.tokens": ["a"]}, "klingon")


def test_text_that_spells_an_added_sentinel_or_stop_is_plain_text() -> None:
    """Even where the file calls such a token text; other added tokens are found in text."""
    texts = ["a", *"<>PRETd", "<PRE>", "<E>", "<d>"]
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.scores": [0.0] * len(texts),
        "tokenizer.ggml.token_type": [TokenKind.NORMAL] * 8 + [TokenKind.USER_DEFINED] * 3,
    }
    template = Template("psm", (), (texts.index("<PRE>"),), (0,), (0,))
    changed = with_control_tokens(metadata, template, (texts.index("<E>"),))
    for text, tokens in ((b"<PRE>", 5), (b"<E>", 3), (b"<d>", 1)):
        assert len(tokenizer_from_metadata(metadata).encode(text)) == 1
        assert len(tokenizer_from_metadata(changed).encode(text)) == tokens
