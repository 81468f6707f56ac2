"""Pages are self-contained and show text as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from engine.errors import InputError
from lsp_server import report
from lsp_server.report import Section, figure, page, table, write_page

HOSTILE = '<script>alert("&")</script>'


class _Checked(HTMLParser):
    """Collects tags and text; void elements aside every tag must be closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data

    def close(self) -> None:
        super().close()
        assert not self._open


def read(html: str) -> _Checked:
    parser = _Checked()
    parser.feed(html)
    parser.close()
    return parser


def draw(axes: Any) -> None:
    axes.plot([1, 2, 3], [3, 1, 2], label="ms")
    axes.legend()


def test_a_page_shows_text_as_text_and_loads_nothing() -> None:
    sections = [
        Section(HOSTILE, table([HOSTILE], [[HOSTILE], [0.123456]], HOSTILE)),
        Section("plot", figure(draw, HOSTILE)),
    ]
    html = page(HOSTILE, HOSTILE, sections)
    parsed = read(html)
    assert "script" not in parsed.tags and parsed.text.count(HOSTILE) == 8
    assert "svg" in parsed.tags and "0.123" in parsed.text
    loaded = re.findall(r"""(?:src|href)\s*=\s*["'](?!#)|@import|url\((?!#)""", html)
    assert not loaded, loaded


def test_the_same_figure_twice_is_the_same_text() -> None:
    assert figure(draw, "a") == figure(draw, "a")


def test_without_matplotlib_a_plot_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(report, "import_module", missing)
    with pytest.raises(InputError, match=r"pip install \"midword\[report\]\""):
        figure(draw, "a")


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*: Is a directory"):
        write_page(tmp_path, "x")
