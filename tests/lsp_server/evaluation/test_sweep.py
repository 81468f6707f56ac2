"""The sweep's tokens and items, and holes, on small sources in all languages."""

from __future__ import annotations

import ast
import random
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import DownloadError, InputError
from lsp_server.evaluation.grammar import LANGUAGES, syntax_errors, tokens_of
from lsp_server.evaluation.holes import PACKAGE, _bodies, _lines, holes
from lsp_server.evaluation.neighbours import opened_beside
from lsp_server.evaluation.sources import Package, Source, members, packages, sources
from lsp_server.evaluation.sweep import sweep

PROGRAMS = {
    "python": b'def area(w):\n    if w >= 10:\n        return "abc"\n',
    "javascript": b'function area(w) {\n  if (w >= 10) return "abc";\n}\n',
    "typescript": b'function area(w: number) {\n  if (w >= 10) return "abc";\n}\n',
    "go": b'package p\nfunc area(w int) string {\n\tif w >= 10 {\n\t\treturn "abc"\n\t}\n\treturn ""\n}\n',
    "rust": b'fn area(w: u32) -> &str {\n    if w >= 10 { return "abc"; }\n    ""\n}\n',
    "c": b'char *area(int w) {\n  if (w >= 10) return "abc";\n  return 0;\n}\n',
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_tokens_have_classes(language: str) -> None:
    source = PROGRAMS[language]
    found = {(source[t.start : t.end], t.token_class) for t in tokens_of(language, source)}
    assert {(b"area", "identifier"), (b"w", "identifier"), (b"10", "literal"), (b'"abc"', "literal"),
            (b">=", "operator")} <= found  # fmt: skip
    assert any(token_class == "indentation" for _, token_class in found)
    assert not {b"if", b"return", b"(", b"{", b";"} & {text for text, _ in found}


@pytest.mark.parametrize("language", LANGUAGES)
def test_syntax_errors_are_counted(language: str) -> None:
    assert syntax_errors(language, PROGRAMS[language]) == 0
    broken = syntax_errors(language, PROGRAMS[language].replace(b">= 10", b">= ) ("))
    assert broken is not None and broken > 0
    assert syntax_errors("cobol", b"MOVE") is None


MINE = Package("mine", "1", "pypi", "MIT", "python", "mine/*.py")


def test_the_sweep_asks_at_every_offset_of_a_token() -> None:
    source = Source(MINE, "mine/a.py", b"# a comment\n" * 30 + b"total_sum = 1\n")
    items = list(sweep([source], 8, 0))
    names = [i for i in items if i.kind == "identifier, token"]
    assert [i.middle for i in names] == [b"total_sum"[n:] for n in range(9)]
    lines = [i for i in items if i.kind == "identifier, line"]
    assert [i.middle for i in lines] == [b"total_sum = 1"[n:] for n in range(9)]
    for item in names + lines:
        assert source.text.endswith(item.prefix + item.middle + item.suffix)
        assert item.middle.startswith(item.token_rest)
    assert list(sweep([source], 8, 0)) == items


@pytest.mark.parametrize(
    ("below", "left"),
    [
        (b"", b""),
        (b"a = 1", b""),
        (b"a = 1\n\n  b = 2\n \n", b"\n \n"),
        (b"\n\na = 1\n\tb = 2\n\n c = 3\nd\n", b"\n\n c = 3\nd\n"),
    ],
)
def test_of_a_block_that_is_written_the_next_lines_are_missing(below: bytes, left: bytes) -> None:
    source = Source(MINE, "mine/a.py", b"# a comment\n" * 30 + b"total_sum = 1\n" + below)
    whole = [item for item in sweep([source], 8, 0) if item.kind.endswith("line")]
    missing = {item.item_id: item for item in sweep([source], 8, 0, unwritten=2)}
    assert len(whole) == len(missing)
    above = [item for item in whole if item.suffix == b"\n" + below]
    assert above and [missing[item.item_id] for item in above] == [replace(i, suffix=left) for i in above]


def test_excerpts_are_of_other_files_and_the_items_are_the_same() -> None:
    texts = [b"# order customer total\n" * 20 + b"total = order + %d\n" % k for k in range(4)]
    files = [Source(MINE, f"mine/{k}.py", text) for k, text in enumerate(texts)]
    alone, beside = list(sweep(files, 8, 0)), list(sweep(files, 8, 0, open_files=2))
    assert [replace(item, related=()) for item in beside] == alone
    for item in beside:
        assert item.related and item.path not in {excerpt.path for excerpt in item.related}
        assert len({excerpt.path for excerpt in item.related}) <= 2


def test_files_of_the_same_folder_are_open_first() -> None:
    paths = ["a/here.py", "a/one.py", "b/two.py", "a/three.py", "c/four.py"]
    files = [Source(MINE, path, b"") for path in paths]
    for seed in range(9):
        found = [f.path for f in opened_beside("a/here.py", files, 3, random.Random(seed))]
        assert set(found[:2]) == {"a/one.py", "a/three.py"} and found[2] in {"b/two.py", "c/four.py"}


def test_the_packages_are_in_all_languages_and_pinned() -> None:
    assert {package.language for package in packages()} == set(LANGUAGES)
    assert all(p.version for p in packages() if p.registry != "debian")
    assert {p.name for p in packages(["go", "c"])} == {"golang-github-spf13-cobra-dev", "libstb-dev"}


def test_no_package_is_in_the_training_data() -> None:
    path = Path(__file__).parents[3] / "training" / "packages.toml"
    trained = {package["name"] for package in tomllib.loads(path.read_text())["package"]}
    assert trained and not trained & {package.name for package in packages()}


CODE = (
    b'''def keep(items):
    """Doc."""
    found = []
    for item in items:
        found.append(item)
    return found


def twice(x):
    y = 2 * x
    return y


def untested(x):
    z = x
    return z
'''
    + b"# filling\n" * 200
)
TESTS = """
from toolz.a import keep, twice
def test_twice(): assert twice(3) == 6
def test_keep(): assert keep((1, 2)) == [1, 2]
"""


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel named like the package, with its tests, kept where fetched ones are."""
    (pinned,) = (package for package in packages() if package.name == PACKAGE)
    path = tmp_path / f"pypi-{pinned.name}-{pinned.version}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toolz/__init__.py", "")
        archive.writestr("toolz/a.py", CODE)
        archive.writestr("toolz/b.py", b"def f():\n    x = 1\n    return x\n" * 80)
        archive.writestr("toolz/tests/test_a.py", TESTS)
    return path


def test_members_and_files_that_are_used(wheel: Path, tmp_path: Path) -> None:
    assert len(dict(members(wheel))) == 4
    (pinned,) = (package for package in packages() if package.name == PACKAGE)
    assert [source.path for source in sources(pinned, tmp_path)] == ["toolz/a.py", "toolz/b.py"]


def test_a_registry_that_cannot_serve_is_named(tmp_path: Path) -> None:
    missing = Package("midword-no-such-package", "9", "pypi", "MIT", "python", "*")
    with pytest.raises(DownloadError, match="pip could not fetch midword-no-such-package==9"):
        sources(missing, tmp_path)
    assert not list(tmp_path.iterdir())


def test_spans_are_whole_statements() -> None:
    for spans in (_lines, _bodies):
        for start, end in spans(CODE):
            assert CODE[end : end + 1] == b"\n" and CODE[start : start + 1].strip()
            ast.parse(CODE[:start] + b"pass" + CODE[end:])
    assert [CODE[s:e] for s, e in _bodies(CODE)][1] == b"y = 2 * x\n    return y"


def test_holes_count_only_where_tests_notice_them(wheel: Path, tmp_path: Path) -> None:
    found = list(holes("holes-body", 9, 0, tmp_path))
    assert sorted(item.middle.partition(b"\n")[0] for item in found) == [b"found = []", b"y = 2 * x"]
    check = found[0].check
    assert check is not None
    assert check.passes(found[0].prefix + found[0].middle + found[0].suffix)
    assert not check.passes(found[0].prefix + b"return None" + found[0].suffix)


def test_a_package_that_fails_its_own_tests_is_refused(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("toolz/tests/test_b.py", "def test_b(): assert False")
    with pytest.raises(InputError, match=r"the tests of toolz for toolz/b.py do not pass"):
        list(holes("holes-line", 1, 0, tmp_path))
