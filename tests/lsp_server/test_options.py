from __future__ import annotations

from typing import Any

import pytest

from lsp_server.options import Settings, parse


@pytest.mark.parametrize("wrap", [lambda o: o, lambda o: {"midword": o}])
def test_options_are_taken_plain_or_under_their_section(wrap: Any) -> None:
    settings, problems = parse(wrap({"maxTokens": 12, "model": "x", "enabled": False}))
    assert (settings, problems) == (Settings(max_tokens=12, model="x", enabled=False), [])


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        ({"maxTokens": "many"}, ["maxTokens"]),
        ({"maxTokens": True}, ["maxTokens"]),
        ({"maxTokens": 0, "deadlineMs": 10**9}, ["maxTokens", "deadlineMs"]),
        ({"enabled": "yes"}, ["enabled"]),
        ({"max_tokens": 3}, ["max_tokens"]),
        ({"midword": {"nonsense": {}}}, ["nonsense"]),
        ([1], ["object"]),
        ({"deadlineMs": []}, ["deadlineMs"]),
        ("x", ["object"]),
    ],
)
def test_what_cannot_be_used_is_named_and_defaulted(sent: Any, names: list[str]) -> None:
    settings, problems = parse(sent)
    assert settings == Settings()
    assert len(problems) == len(names)
    assert all(name in problem for name, problem in zip(names, problems, strict=True))


def test_a_bad_option_does_not_take_the_good_ones_with_it() -> None:
    settings, problems = parse({"maxTokens": -1, "maxLines": 4})
    assert settings == Settings(max_lines=4) and len(problems) == 1


@pytest.mark.parametrize("sent", [None, {}, {"midword": None}])
def test_nothing_sent_means_defaults(sent: Any) -> None:
    assert parse(sent) == (Settings(), [])


def test_switches_and_globs() -> None:
    sent = {"languages": {"markdown": False, "*": True}, "exclude": ["*.md", "!a.md"]}
    settings, problems = parse(sent)
    assert settings == Settings(languages={"markdown": False, "*": True}, exclude=("*.md", "!a.md"))
    assert problems == []


@pytest.mark.parametrize(
    "sent",
    [
        {"exclude": "*.md"},
        {"exclude": [1]},
        {"exclude": ["a", "src/[b"]},
        {"languages": ["python"]},
        {"languages": {"markdown": "false"}},
    ],
)
def test_what_is_kept_out_has_no_default(sent: Any) -> None:
    settings, problems = parse({**sent, "maxLines": 3})
    assert settings == Settings(max_lines=3, exclude=None)
    (problem,) = problems
    assert next(iter(sent)) in problem and "nothing is completed" in problem
