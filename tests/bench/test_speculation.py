"""Which cursors the bench of drafts draws, and that its oracle spares what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.speculation import Method, Oracle, Place, repeated_share, statements
from engine.backends.base import StopSignal
from engine.cache import Scorer
from engine.completer import Completer
from engine.tree import TokenPath
from engine.types import Request
from tests.engine.models_of_tables import CODE, model_of, vocabulary
from tests.engine.test_drafting import forgetful_table

SOURCE = b'"""Text."""\n' + b"\n".join(
    b"def f%d(x):\n    '''Doc.'''\n    y = x + %d\n    return y\n" % (n, n) for n in range(80)
)


def test_cursors_stand_before_a_statement_with_nothing_right_of_them(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_bytes(SOURCE)
    places = list(statements(path, lines=3))
    assert len(places) > 40
    for place in places:
        assert place.before + place.cut + place.after == SOURCE
        assert not place.before.rpartition(b"\n")[2].strip() and place.after.startswith(b"\n")
        assert place.cut.startswith((b"def ", b"y = ", b"return ")) and place.cut.count(b"\n") == 2


def test_what_is_cut_out_counts_as_repeated_by_runs_of_tokens() -> None:
    encode = vocabulary().tokenizer.encode
    cut = b"    return width * height\n"
    assert repeated_share(encode, Place("a", cut * 2, cut, b"")) == 1
    assert repeated_share(encode, Place("a", b"", cut, b"\n")) == 0


def test_the_oracle_halves_evaluations_by_one_row_each() -> None:
    """Two rows an evaluation, and a quarter by three."""
    model = model_of(forgetful_table(len(vocabulary().tokenizer.vocab), seed=25), order="none")
    needed = dict[TokenPath, None]()
    methods = {name: Method(name, model, needed) for name in ("off", "oracle-1", "oracle-3")}
    for end in range(20, 70):
        needed.clear()
        for method in methods.values():
            request = Request(CODE[:end], max_tokens=24, max_lines=99)
            method.complete(Place("a", request.prefix, b"", b""), "any", request)
    off, one, three = (method.scores["any"] for method in methods.values())
    assert one.texts == three.texts == off.texts and any(off.texts)
    counts = [[usage.model_evaluations for usage in score.usages] for score in (off, one, three)]
    print(f"{[sum(each) for each in counts]} evaluations with none, one and three rows of an oracle")
    assert sum(counts[0]) > 50 and max(counts[0]) >= 4
    for plain, pairs, fours in zip(*counts, strict=True):
        assert pairs <= -(-plain // 2) and fours <= -(-plain // 4)
    assert one.total("accepted_tokens") == one.total("drafted_tokens") > 0


def test_the_oracle_records_what_was_asked_for_and_drafts_nothing_outside_of_a_completion() -> None:
    model = model_of(forgetful_table(len(vocabulary().tokenizer.vocab), seed=25), order="none")
    needed = dict[TokenPath, None]()
    recorder = Oracle(model.tokenizer.vocab.token_bytes, 0, needed)
    request = Request(CODE[:60], max_tokens=6, max_lines=99)
    completer = Completer(replace(model, scorer=Scorer(model.backend, drafter=recorder)))
    completer.complete(replace(request, drafts="lookup"), StopSignal())
    assert len(needed) > 3 and recorder.drafted == 0
    knowing = Oracle(model.tokenizer.vocab.token_bytes, 4, needed)
    Completer(replace(model, scorer=Scorer(model.backend, drafter=knowing))).open(request, StopSignal())
    assert knowing.drafted == 0
