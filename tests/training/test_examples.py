"""Examples are the engine's own prompts, and their text is the file's, byte for byte."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from engine.fim import Budget, Template, build_prompt
from engine.related import as_comments
from engine.types import Excerpt
from lsp_server.related import excerpt_below
from tests.engine.models_of_tables import CODE, vocabulary
from training import examples
from training.examples import Example, Sentinels, commented, make_example, psm, spm
from training.spans import LONGEST_MIDDLE_BYTES, choose, nodes_of

TOKENIZER = vocabulary().tokenizer
SIZE = len(TOKENIZER.vocab)
SENTINELS = Sentinels(*range(SIZE - 4, SIZE))
TEXT = CODE * 3 + "naïve = 'é'\n".encode()


def split_at(tokens: list[int], *marks: int) -> list[bytes]:
    """The texts between sentinels."""
    parts: list[list[int]] = [[]]
    for token in tokens:
        if token in marks:
            parts.append([])
        else:
            parts[-1].append(token)
    return [TOKENIZER.vocab.decode(part) for part in parts]


@pytest.mark.parametrize("seed", range(60))
def test_psm_begins_with_the_engine_s_prompt(seed: int) -> None:
    rng = random.Random(seed)
    start = rng.randrange(len(CODE))
    end = rng.randrange(start, len(CODE) + 1)
    prefix, middle, suffix = CODE[:start], CODE[start:end], CODE[end:]
    above = as_comments([Excerpt("b.py", CODE[:300])], "a.py") if seed % 2 else b""
    example = psm(prefix, middle, suffix, TOKENIZER, SENTINELS, above)
    template = Template("psm", (), (SENTINELS.prefix,), (SENTINELS.suffix,), (SENTINELS.middle,))
    prompt = build_prompt(TOKENIZER, template, prefix, suffix, Budget(10**6, 10**6), SENTINELS.end, above)
    tokens = example.tokens.tolist()
    fixed = len(prompt.fixed)
    assert tuple(tokens[:fixed]) == prompt.fixed
    assert tuple(tokens[fixed:-1]) == TOKENIZER.encode(prompt.tail + middle)
    assert tokens[-1] == SENTINELS.end
    check_learned(example, fixed, len(prompt.tail))


@pytest.mark.parametrize("seed", range(60))
def test_spm_runs_on_from_the_prefix(seed: int) -> None:
    rng = random.Random(seed)
    start = rng.randrange(len(CODE))
    end = rng.randrange(start, len(CODE) + 1)
    above = as_comments([Excerpt("b.py", CODE[:300])], "a.py") if seed % 2 else b""
    example = spm(CODE[:start], CODE[start:end], CODE[end:], TOKENIZER, SENTINELS, above)
    marks = (SENTINELS.prefix, SENTINELS.suffix, SENTINELS.middle, SENTINELS.end)
    assert split_at(example.tokens.tolist(), *marks) == [b"", b"", CODE[end:], above + CODE[:end], b""]
    check_learned(example, len(TOKENIZER.encode(CODE[end:])) + 3, len(above) + start)
    before, after, here = ((mark,) for mark in marks[:3])
    template = Template("spm", before, (), after, here)
    budget = Budget(10**6, 10**6)
    prompt = build_prompt(TOKENIZER, template, CODE[:start], CODE[end:], budget, SENTINELS.end, above)
    assert tuple(example.tokens[: len(prompt.fixed)].tolist()) == prompt.fixed


@pytest.mark.parametrize("seed", range(60))
def test_where_lines_below_are_comments_the_text_ends_where_they_begin(seed: int) -> None:
    rng = random.Random(seed)
    start = rng.randrange(len(CODE) - 60)
    end = rng.randrange(start, len(CODE) - 50)
    below = excerpt_below("a.py", CODE[end:])
    above = as_comments([*below, Excerpt("b.py", CODE[:300])], "a.py")
    example = commented(CODE[:start], CODE[start:end], CODE[end:], TOKENIZER, SENTINELS, above)
    said = above + CODE[: CODE.index(b"\n", end) + 1]
    assert split_at(example.tokens.tolist(), SENTINELS.end) == [b"", said, b""]
    assert (said + below[0].text)[len(above) :] == CODE[: CODE.index(b"\n", end) + 1 + len(below[0].text)]
    check_learned(example, 1, len(above) + start)
    budget = Budget(10**6, 10**6)
    template = Template("none")
    prompt = build_prompt(TOKENIZER, template, CODE[:start], CODE[end:], budget, SENTINELS.end, above)
    assert tuple(example.tokens[: len(prompt.fixed)].tolist()) == prompt.fixed


def check_learned(example: Example, context: int, given_bytes: int) -> None:
    """The first learned token reaches beyond what is given; the one before it does not."""
    said, at = example.tokens.tolist()[context:-1], example.learned_from - context
    assert len(TOKENIZER.vocab.decode(said[:at])) <= given_bytes
    if at < len(said):
        assert len(TOKENIZER.vocab.decode(said[: at + 1])) > given_bytes


def test_a_middle_is_tokenised_together_with_what_stands_before_it() -> None:
    """A cursor inside `width` leaves no broken token behind."""
    cut = CODE.index(b"width") + 2
    example = psm(CODE[:cut], b"dth", CODE[cut + 3 :], TOKENIZER, SENTINELS)
    broken = (*TOKENIZER.encode(CODE[:cut]), *TOKENIZER.encode(b"dth"))
    assert TOKENIZER.encode(CODE[: cut + 3]) != broken, "this cursor would show nothing"
    said = example.tokens.tolist()[example.tokens.tolist().index(SENTINELS.middle) + 1 : -1]
    assert tuple(said) == TOKENIZER.encode(TOKENIZER.vocab.decode(said))


def test_spans_are_nodes_lines_and_characters() -> None:
    nodes = nodes_of(TEXT, "python")
    known = {span for order in nodes for span in order}
    assert known and all(0 < end - start <= LONGEST_MIDDLE_BYTES for start, end in known)
    rng = random.Random(5)
    spans = [choose(TEXT, nodes, rng) for _ in range(2000)]
    node_ends, line_ends = {end for _, end in known}, line_breaks(0) | line_breaks(1)

    def share(what: Callable[[int, int], bool]) -> float:
        return sum(what(*span) for span in spans) / len(spans)

    assert 0.6 < share(lambda start, end: end in node_ends) < 0.9
    assert share(lambda start, end: (start, end) not in known and end in node_ends) > 0.25, "starts inside"
    whole = share(lambda start, end: start in line_breaks(1) and end in line_breaks(1))
    assert 0.03 < whole < 0.2, "whole lines, with their line breaks"
    assert share(lambda start, end: start in line_breaks(0) and end in line_breaks(0)) > 0.02
    assert share(lambda start, end: end not in node_ends | line_ends) > 0.08, "random characters"
    for start, end in spans:
        assert 0 <= start < end <= len(TEXT)
        TEXT[:start].decode(), TEXT[start:end].decode()


def line_breaks(behind: int) -> set[int]:
    """Where each line break of TEXT stands, or what is behind it."""
    return {at + behind for at, byte in enumerate(TEXT) if byte == ord("\n")}


@pytest.mark.parametrize("language", ["python", "javascript", "typescript", "go", "rust", "c"])
def test_every_language_of_the_list_has_a_grammar(language: str) -> None:
    assert nodes_of(b"f(a, b);\n", language)


def test_the_mix_of_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "PREFIX_BYTES", (200, 300))  # PSM has a first section then
    rng = random.Random(1)
    text = CODE * 9
    made = [make_example(text, (260, 267), TOKENIZER, SENTINELS, rng).tokens.tolist() for _ in range(1000)]
    suffix_at = [tokens.index(SENTINELS.suffix) for tokens in made if SENTINELS.suffix in tokens]
    counts = {
        "psm": sum(at > 1 for at in suffix_at) / 1000,
        "spm": sum(at == 1 for at in suffix_at) / 1000,
        "below": sum(tokens[0] == SENTINELS.end for tokens in made) / 1000,
    }
    # PSM also where a third would show lines below and there are none
    assert counts == pytest.approx({"psm": 0.37, "spm": 0.3, "below": 0.23}, abs=0.05)
    ends_early = [tokens for tokens in made if SENTINELS.suffix in tokens and tokens[-1] != SENTINELS.end]
    assert not ends_early, "the end is always learned"
    assert not any(TOKENIZER.vocab.decode(t[1:-1]) in text for t in made if t[0] == SENTINELS.end)
