from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest

from engine.errors import InputError
from lsp_server.counts import Batch
from lsp_server.statistics_store import KEPT_DAYS, MOST_ROWS, add, delete, read

START = date.today()
"""The day on which the tests began; some may end on the next one."""
TODAY = START.isoformat()
COUNT = (TODAY, "python", "own", "string", "shown")


def test_numbers_add_up_and_are_private_to_the_user(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s.sqlite3"
    assert not read(path) and not path.parent.exists()
    batch = Batch(Counter({COUNT: 2}), Counter({(TODAY, "own", 40): 1}))
    for _ in range(3):
        add(path, batch)
    assert read(path) == Batch(Counter({COUNT: 6}), Counter({(TODAY, "own", 40): 3}))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_several_servers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite3"
    code = (
        "from collections import Counter\nfrom pathlib import Path\n"
        "from lsp_server.statistics_store import add\nfrom lsp_server.counts import Batch\n"
        f"for _ in range(25): add(Path({str(path)!r}), Batch(Counter({{{COUNT!r}: 1}})))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert read(path).counts == Counter({COUNT: 100})


def test_old_days_and_too_many_rows_go(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite3"
    old = (START - timedelta(days=KEPT_DAYS + 1)).isoformat()
    yesterday = (START - timedelta(days=1)).isoformat()
    add(path, Batch(Counter({(old, *COUNT[1:]): 1, COUNT: 1})))
    assert set(read(path).counts) == {COUNT}
    many = Counter(
        {(yesterday, f"language{number}", "own", "string", "shown"): 1 for number in range(MOST_ROWS)}
    )
    add(path, Batch(many))
    assert set(read(path).counts) == {COUNT}


def test_delete(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite3"
    assert not delete(path)
    add(path, Batch(Counter({COUNT: 1})))
    assert delete(path) and list(tmp_path.iterdir()) == []


def test_a_file_that_is_none_of_ours_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite3"
    path.write_bytes(b"this is no database, but long enough to be looked at " * 10)
    for call in (lambda: read(path), lambda: add(path, Batch(Counter({COUNT: 1})))):
        with pytest.raises(InputError, match="--delete"):
            call()
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="another version"):
        read(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        add(tmp_path / "file" / "s.sqlite3", Batch(Counter({COUNT: 1})))


def test_only_shipped_models_go_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite3"
    models = ["smollm2-135m", "my-secret-project", "other"]
    add(path, Batch(Counter({(TODAY, "python", model, "string", "shown"): 1 for model in models})))
    assert read(path).counts == Counter({COUNT: 2, (TODAY, "python", "smollm2-135m", "string", "shown"): 1})
