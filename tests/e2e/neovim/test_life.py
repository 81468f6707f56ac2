"""Switches, keys, statuses and deaths: what runs when, and what the user is told."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.neovim.editor import ROOT, Neovim
from tests.e2e.terminal import until

pytestmark = [pytest.mark.e2e]
Wait = Callable[[Neovim], None]


def line_with(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def screen_has(editor: Neovim, words: str) -> None:
    until(lambda: words in "\n".join(editor.screen()), lambda: "\n".join(editor.screen()))


@pytest.mark.model
def test_switched_off_no_engine_is_called(
    open_editor: Any, orders: Path, default_model: list[str], attached: Wait
) -> None:
    editor = open_editor(orders, cmd=default_model)
    attached(editor)
    editor.type("Go\rx = order.quan")
    editor.wait_for_ghost()
    (pid,) = editor.engine_pids()

    editor.leave_insert_mode()
    editor.type(":Midword toggle buffer\r")
    until(lambda: editor.status() == "midword off", editor.status)
    calls = editor.engine_calls()
    editor.type("ccy = order.quan")
    until(lambda: editor.lines()[-1] == "y = order.quan", lambda: str(editor.lines()))
    assert (editor.engine_calls(), editor.ghost()) == (calls, "")
    assert editor.engine_pids() == [pid], "other buffers may still be completed"

    editor.leave_insert_mode()
    editor.type(":Midword toggle buffer\r")
    attached(editor)
    editor.type("ccz = order.quan")
    editor.wait_for_ghost()
    assert editor.engine_calls() > calls

    editor.leave_insert_mode()
    editor.type(":Midword toggle\r")
    until(lambda: editor.engine_pids() == [], lambda: f"no engine runs: {editor.engine_pids()}")
    assert editor.status() == "midword off"
    calls = editor.engine_calls()
    editor.type("ccw = order.quan")
    until(lambda: editor.lines()[-1] == "w = order.quan", lambda: str(editor.lines()))
    assert (editor.engine_calls(), editor.ghost(), editor.engine_pids()) == (calls, "", [])

    editor.leave_insert_mode()
    editor.type(":Midword toggle\r")
    attached(editor)
    editor.type("ccv = order.quan")
    editor.wait_for_ghost()


@pytest.mark.model
def test_a_killed_engine_is_replaced_and_the_user_is_told(
    open_editor: Any, orders: Path, default_model: list[str], attached: Wait
) -> None:
    editor = open_editor(orders, cmd=default_model)
    attached(editor)
    editor.type("Go\rx = order.quan")
    shown = editor.wait_for_ghost()
    (pid,) = editor.engine_pids()
    os.kill(pid, signal.SIGKILL)
    until(lambda: "killed by signal 9" in editor.messages(), editor.messages)
    editor.leave_insert_mode()
    editor.type("ccx = order.quan")
    until(lambda: editor.engine_pids() not in ([], [pid]), lambda: f"a new engine: {editor.engine_pids()}")
    assert editor.wait_for_ghost()[:4] == shown[:4]
    assert "midword error" in editor.lua("_G.statuses")
    until(lambda: re.search(r"midword \d+ ms", "\n".join(editor.screen())), lambda: str(editor.screen()))


@pytest.mark.model
def test_restart_and_explain(
    open_editor: Any, orders: Path, default_model: list[str], attached: Wait
) -> None:
    editor = open_editor(orders, cmd=default_model)
    attached(editor)
    (first,) = until(editor.engine_pids, lambda: "no engine")
    editor.type(":Midword restart\r")
    until(lambda: editor.engine_pids() not in ([], [first]), lambda: str(editor.engine_pids()))
    editor.type("44G27|:Midword explain\r")
    page = until(lambda: editor.lua("_G.opened"), editor.messages)
    assert "orders.py, line 44, column 27" in Path(page).read_text()


def test_a_killed_server_is_started_again(
    open_editor: Any, tmp_path: Path, scripted: list[str], attached: Wait
) -> None:
    editor = open_editor(line_with(tmp_path / "a.py", ""), cmd=scripted)
    attached(editor)
    editor.type("ix.hel")
    editor.wait_for_ghost(lambda text: text == "lo()")
    first = editor.lua('vim.lsp.get_clients({ name = "midword" })[1].id')
    (engine,) = editor.engine_pids()
    server = int(Path(f"/proc/{engine}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(server, signal.SIGKILL)
    screen_has(editor, "Client midword quit")
    editor.press("Enter")
    until(editor.status, lambda: "it goes on")
    assert editor.status() in ("midword error", "midword starting", "midword")
    until(
        lambda: editor.lua('(vim.lsp.get_clients({ name = "midword" })[1] or {}).id') not in (None, first),
        lambda: "a new client",
    )
    attached(editor)
    editor.leave_insert_mode()
    editor.type("ox.hel")
    editor.wait_for_ghost(lambda text: text == "lo()")


def test_a_buffer_that_is_not_eligible_costs_nothing(
    open_editor: Any, tmp_path: Path, scripted: list[str], attached: Wait
) -> None:
    large = line_with(tmp_path / "large.py", "x = 1\n" * 200)
    mail = line_with(tmp_path / "COMMIT_EDITMSG", "")
    options = {"max_bytes": 1000}
    editor = open_editor(large, mail, cmd=scripted, plugin=options)
    for command, filetype in ((":edit", "python"), (":next", "gitcommit"), (":enew", ""), (":help", "help")):
        editor.type(f"{command}\r")
        until(lambda filetype=filetype: editor.lua("vim.bo.filetype") == filetype, lambda: "the next file")
        assert editor.lua("#vim.lsp.get_clients()") == 0
        if filetype != "help":
            editor.type("ox.hel")
            editor.leave_insert_mode()
    assert editor.status() == ""
    assert editor.lua("#_G.sent") == 0 and editor.engine_pids() == []
    editor.type(f":edit {line_with(tmp_path / 'b.py', '')}\r")
    attached(editor)
    editor.type("ix.hel")
    editor.wait_for_ghost(lambda text: text == "lo()")
    opened = [m["params"] for m in editor.lua("_G.sent") if m["method"] == "textDocument/didOpen"]
    assert [params["textDocument"]["uri"] for params in opened] == [(tmp_path / "b.py").as_uri()]


def test_all_folders_share_one_server_and_the_status_is_that_of_the_buffer(
    open_editor: Any, tmp_path: Path, scripted: list[str], attached: Wait
) -> None:
    paths = []
    for name in ("one", "two"):
        (tmp_path / name / ".git").mkdir(parents=True)
        paths.append(line_with(tmp_path / name / "a.py", ""))
    (tmp_path / "two" / ".midwordignore").write_text("secret*\n")
    secret = line_with(tmp_path / "two" / "secret.py", "")
    editor = open_editor(*paths, cmd=scripted)
    attached(editor)
    editor.type("ix.hel")
    editor.wait_for_ghost(lambda text: text == "lo()")
    editor.leave_insert_mode()
    editor.type(":set hidden | next\r")
    attached(editor)
    editor.type("ix.hel")
    editor.wait_for_ghost(lambda text: text == "lo()")
    editor.leave_insert_mode()
    editor.type(f":edit {secret}\r")
    until(lambda: editor.status() == "midword off: ignored-by-midwordignore", editor.status)
    editor.type("ix.hel")
    until(lambda: editor.lines() == ["x.hel"], lambda: str(editor.lines()))
    assert editor.ghost() == ""
    editor.leave_insert_mode()
    editor.type(":buffer 1\r")
    until(lambda: re.fullmatch(r"midword \d+ ms", editor.status()), editor.status)
    assert len(editor.engine_pids()) == 1 and editor.lua("#vim.lsp.get_clients()") == 1
    methods = [message["method"] for message in editor.lua("_G.sent")]
    assert methods.count("workspace/didChangeWorkspaceFolders") == 1


def test_keys_do_what_they_did_while_nothing_is_shown(
    open_editor: Any, tmp_path: Path, scripted: list[str], attached: Wait
) -> None:
    editor = open_editor(line_with(tmp_path / "a.txt", ""), cmd=scripted)
    attached(editor)
    editor.type("inothing")
    editor.press("Tab")
    until(lambda: editor.lines() == ["nothing\t"], lambda: str(editor.lines()))
    editor.type("x.hel")
    editor.wait_for_ghost(lambda text: text == "lo()")
    editor.press("M-d")
    editor.wait_for_ghost(lambda text: text == "")
    editor.press("Tab")
    until(lambda: editor.lines() == ["nothing\tx.hel\t"], lambda: str(editor.lines()))
    editor.press("BSpace", "M-c")
    editor.wait_for_ghost(lambda text: text == "lo()")
    editor.leave_insert_mode()
    assert editor.ghost() == ""
    editor.type("A")
    editor.wait_for_ghost(lambda text: text == "lo()")


def test_accepting_tells_the_server(
    open_editor: Any, tmp_path: Path, scripted: list[str], attached: Wait
) -> None:
    editor = open_editor(line_with(tmp_path / "a.txt", ""), cmd=scripted, maxLines=3)
    attached(editor)
    editor.type("icafé = ")
    editor.wait_for_ghost(lambda text: text == "'😀 crème'")
    editor.press("M-w", "M-w")
    editor.wait_for_ghost(lambda text: text == " crème'")
    editor.press("Tab")
    until(lambda: editor.lines() == ["café = '😀 crème'"], lambda: str(editor.lines()))
    sent = editor.lua("_G.sent")
    lengths = [
        m["params"]["acceptedLength"] for m in sent if m["method"].endswith("didPartiallyAcceptCompletion")
    ]
    assert lengths[-1] == len("'😀".encode("utf-16-le")) // 2
    shown = [m["params"]["item"]["insertText"] for m in sent if m["method"].endswith("didShowCompletion")]
    assert shown[0] == "'😀 crème'"
    commands = [m["params"]["command"] for m in sent if m["method"] == "workspace/executeCommand"]
    assert commands == ["midword.accepted"]
    editor.wait_for_ghost(lambda text: text == "_done")
    counts = statistics_after_leaving(editor)
    assert (counts["shown"], counts["partly"], counts["partly_chars"]) == (2, 1, len("'😀"))
    assert (counts["accepted"], counts["accepted_chars"]) == (1, len(" crème'"))


def test_a_text_that_is_taken_by_words_over_a_line_end_counts_once(
    open_editor: Any, tmp_path: Path, scripted: list[str], attached: Wait
) -> None:
    editor = open_editor(line_with(tmp_path / "a.txt", "if x:"), cmd=scripted, maxLines=3)
    attached(editor)
    editor.type("A")
    editor.wait_for_ghost(lambda text: text == "\n    return total")
    editor.press("M-w")
    editor.wait_for_ghost(lambda text: text == " total")
    editor.press("Tab")
    editor.wait_for_ghost(lambda text: text == "\n    more")
    counts = statistics_after_leaving(editor)
    assert (counts["shown"], counts["partly"], counts["accepted"]) == (2, 1, 1)


def statistics_after_leaving(editor: Neovim) -> dict[str, Any]:
    """What `midword stats` says of this editor; a server that ends writes what it has counted."""
    editor.leave_insert_mode()
    editor.type(":qa!\r")
    stats = [sys.executable, "-P", "-m", "lsp_server", "stats", "--json"]
    environment = {**os.environ, "XDG_STATE_HOME": str(editor.folder / "state")}

    def counts() -> dict[str, Any]:
        run = subprocess.run(stats, env=environment, capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(run.stdout)["all"]
        return found

    until(lambda: counts()["accepted"], lambda: str(counts()))
    return counts()


def test_a_missing_program_is_one_sentence_and_checkhealth_says_more(
    open_editor: Any, tmp_path: Path
) -> None:
    editor = open_editor(line_with(tmp_path / "a.py", ""), cmd=["no-such-midword", "lsp"])
    screen_has(editor, 'the program "no-such-midword" is not found')
    editor.press("Enter")
    editor.type(":checkhealth midword\r")
    until(lambda: editor.lua("vim.bo.filetype") == "checkhealth", lambda: "\n".join(editor.screen()))
    report = "\n".join(editor.lines())
    assert "pip install midword" in report and "a.py: eligible, not attached" in report


def test_checkhealth_of_a_running_server(
    open_editor: Any, tmp_path: Path, default_model: list[str], attached: Wait
) -> None:
    editor = open_editor(
        line_with(tmp_path / "a.py", ""), cmd=[str(Path(default_model[0]).with_name("midword")), "lsp"]
    )
    attached(editor)
    editor.type(":checkhealth midword\r")
    until(lambda: editor.lua("vim.bo.filetype") == "checkhealth", lambda: "\n".join(editor.screen()))
    report = "\n".join(editor.lines())
    assert "model(s) installed" in report and "a.py: completed" in report and "ERROR" not in report
    editor.type(":help midword-options\r")
    until(lambda: editor.lua("vim.bo.buftype") == "help", lambda: "\n".join(editor.screen()))


def test_the_lua_code_has_no_warnings() -> None:
    luacheck = ["luacheck", "--quiet", "--no-color", "."]
    run = subprocess.run(luacheck, cwd=ROOT / "editors" / "neovim", capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_options_are_checked(open_editor: Any, tmp_path: Path, scripted: list[str]) -> None:
    editor = open_editor(line_with(tmp_path / "a.py", ""), cmd=scripted, plugin={"colour": "red"})
    screen_has(editor, "midword: unknown option colour")
