"""Excerpts of other files: comments before the text, which stays byte for byte what it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from engine.backends.base import StopSignal
from engine.completer import _RESERVED_TOKENS, Completer
from engine.fim import Budget, Template, build_prompt
from engine.protocol import request_from_wire
from engine.related import as_comments
from engine.types import BELOW_BYTES, RELATED_BYTES, Excerpt, Request
from tests.engine.models_of_tables import model_of
from tests.engine.toy_models import ToyModel
from tests.engine.toys import TOYS
from tests.engine.vocabularies import trained

NEAR, FAR = Excerpt("near.py", b"def near():\n    pass\n"), Excerpt("lib/far.py", b"far = 1")
CODE, AFTER = b"import os\n\ndef area(width, height):\n    return width * hei", b"\n\nprint(area(2, 3))\n"


def test_the_first_excerpt_stands_next_to_the_document() -> None:
    assert as_comments([NEAR, FAR], "a.py") == (
        b"# lib/far.py:\n# far = 1\n# near.py:\n# def near():\n#     pass\n\n"
    )
    assert as_comments([], "a.py") == b""


@pytest.mark.parametrize(
    ("path", "leader"), [("x/a.ts", b"//"), ("a.H", b"//"), ("a.lua", b"--"), ("Makefile", b"#"), ("", b"#")]
)
def test_comments_are_those_of_the_documents_language(path: str, leader: bytes) -> None:
    shown = as_comments([Excerpt("b.py", b"a\r\n\r\nb")], path)
    assert shown == leader + b" b.py:\n" + leader + b" a\n" + leader + b"\n" + leader + b" b\n\n"


def test_only_whole_excerpts_are_shown_as_far_as_there_is_room() -> None:
    rest = Excerpt("rest.py", b"x" * (RELATED_BYTES - len(NEAR.text)))
    assert as_comments([NEAR, rest], "").count(rest.text) == 1
    assert as_comments([NEAR, rest, FAR], "") == as_comments([NEAR, rest], "")
    assert as_comments([NEAR, Excerpt("rest.py", rest.text + b"x"), FAR], "") == as_comments([NEAR], "")
    assert as_comments([Excerpt("", b"x" * (RELATED_BYTES + 1))], "") == b""


@pytest.mark.parametrize("order", ["none", "psm", "suffix first", "spm"])
def test_the_prompt_is_the_comments_and_then_the_text(order: str) -> None:
    tokenizer = trained(
        "starcoder", CODE * 3 + AFTER, merges=60, control=("<P>", "<S>", "<M>"), missing=b"\xf5"
    ).tokenizer
    p, s, m = ((len(tokenizer.vocab) - 3 + k,) for k in range(3))
    templates = {
        "none": Template("none"),
        "psm": Template("psm", (), p, s, m),
        "suffix first": Template("psm", (), p, s, m, suffix_first=True),
        "spm": Template("spm", (), (), s, m, False),
    }
    above = as_comments([NEAR], "a.py")

    def told(above: bytes) -> tuple[bytes, bytes]:
        prompt = build_prompt(
            tokenizer,
            templates[order],
            CODE,
            AFTER,
            Budget(4096, 1024),
            m[0],
            above.replace(b"near", b"ne\xf5ar"),
        )
        return tokenizer.vocab.decode(prompt.fixed), prompt.tail

    (plain, tail), (shown, tail_below) = told(b""), told(above)
    assert tail_below == tail
    assert shown.count(above) == 1
    assert shown.replace(above, b"") == plain


def test_lines_below_have_room_of_their_own() -> None:
    below = Excerpt("a.py", b"y" * BELOW_BYTES, below=True)
    others = Excerpt("rest.py", b"x" * RELATED_BYTES)
    shown = as_comments([below, others], "a.py")
    assert shown.count(others.text) == shown.count(below.text) == 1 and shown.endswith(below.text + b"\n\n")
    assert as_comments([replace(below, text=below.text + b"y")], "a.py") == b""


@pytest.mark.parametrize("order", ["none", "psm", "spm"])
def test_a_model_that_is_shown_the_suffix_is_not_shown_it_again(order: Literal["none", "psm", "spm"]) -> None:
    table = ToyModel.random(TOYS["chain"], 2).engine_model(Template(order, (), (0,), (1,), (2,)))
    completer = Completer(table)
    request = Request(b"ab", b"c\nab\n", related=(Excerpt("ab", b"ab", below=True), Excerpt("c", b"c")))
    others = replace(request, related=request.related[1:])
    prompts = [
        completer.open(each, StopSignal())[0] for each in (request, others, replace(request, related=()))
    ]
    assert (prompts[0] == prompts[1]) == (order != "none")
    assert prompts[1] != prompts[2]


def test_where_the_context_is_small_the_excerpts_go_first() -> None:
    model = model_of()
    completer, request = Completer(model), Request(CODE, AFTER, max_tokens=4, related=(NEAR,))
    whole, _ = completer.open(request, StopSignal())
    bare, _ = completer.open(replace(request, related=()), StopSignal())
    assert len(whole.fixed) > len(bare.fixed)
    model.backend.context_length = completer.prompt_tokens(whole) + 4 + _RESERVED_TOKENS
    assert completer.open(request, StopSignal())[0] == whole
    model.backend.context_length -= 1
    assert completer.open(request, StopSignal())[0] == bare


def test_it_comes_over_the_wire() -> None:
    wire: dict[str, Any] = {"prefix": b"x", "related": [{"path": "near.py", "text": NEAR.text}]}
    assert request_from_wire(wire).related == (NEAR,)
    wire["related"][0]["below"] = True
    assert request_from_wire(wire).related == (replace(NEAR, below=True),)
