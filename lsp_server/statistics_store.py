"""Where the statistics are: one SQLite file of counts, for all servers of this user at once.

A row is a number for a day, language, model, class of cursor and event; another table counts latencies in
buckets. So the file does not grow with use, only with days, and `KEPT_DAYS` and `MOST_ROWS` bound it. There
is no text in it, no name or path of a file, and no time of day.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path

from engine.errors import InputError
from engine.models.home import state_dir
from engine.models.registry import shipped_names
from lsp_server.counts import Batch

FILE_NAME = "statistics.sqlite3"
OWN_MODEL = "own"
KEPT_DAYS = 400
MOST_ROWS = 50_000
_WAIT_S = 5.0
_FORMAT = 1
_TABLES = (
    "CREATE TABLE IF NOT EXISTS counts (day TEXT, language TEXT, model TEXT, cursor TEXT, event TEXT,"
    " number INTEGER NOT NULL, PRIMARY KEY (day, language, model, cursor, event)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS latencies (day TEXT, model TEXT, bucket INTEGER,"
    " number INTEGER NOT NULL, PRIMARY KEY (day, model, bucket)) WITHOUT ROWID",
)


def statistics_file() -> Path:
    """The file, which need not exist."""
    return state_dir() / FILE_NAME


def add(path: Path, batch: Batch) -> None:
    """Add the numbers of `batch`; blocks for some milliseconds. Raises InputError.

    Of models only those that midword ships go by their names: a user's own may be named after a file.
    """
    shipped = shipped_names()
    counts = Counter[tuple[str, ...]]()
    for (day, language, model, cursor, event), number in batch.counts.items():
        counts[day, language, model if model in shipped else OWN_MODEL, cursor, event] += number
    latencies = Counter[tuple[str, str, int]]()
    for (day, model, bucket), number in batch.latencies.items():
        latencies[day, model if model in shipped else OWN_MODEL, bucket] += number
    with _opened(path) as database:
        database.executemany(
            "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET number = number + excluded.number",
            [(*count, number) for count, number in counts.items()],
        )
        database.executemany(
            "INSERT INTO latencies VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET number = number + excluded.number",
            [(*latency, number) for latency, number in latencies.items()],
        )
        _drop_old(database)


def read(path: Path) -> Batch:
    """All numbers; none if there is no file. Raises InputError."""
    if not path.exists():
        return Batch()
    with _opened(path) as database:
        counts = database.execute("SELECT day, language, model, cursor, event, number FROM counts")
        latencies = database.execute("SELECT day, model, bucket, number FROM latencies")
        return Batch(
            Counter(
                {
                    (day, language, model, cursor, event): n
                    for day, language, model, cursor, event, n in counts
                }
            ),
            Counter({(day, model, bucket): n for day, model, bucket, n in latencies}),
        )


def delete(path: Path) -> bool:
    """Delete the file. Returns whether there was one. Raises InputError."""
    try:
        found = path.exists()
        for name in (path, path.with_name(f"{path.name}-journal")):
            name.unlink(missing_ok=True)
        return found
    except OSError as error:
        raise InputError(f"cannot delete {path}: {error.strerror or error}") from None


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction on the file, made if need be, that no other process writes meanwhile."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        with closing(sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)) as database:
            database.execute("PRAGMA secure_delete = ON")
            database.execute("BEGIN IMMEDIATE")
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version not in (0, _FORMAT):
                raise InputError(
                    f"{path} was written by another version; `midword stats --delete` starts anew"
                )
            for statement in _TABLES:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {_FORMAT}")
            yield database
            database.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        raise InputError(
            f"the statistics in {path} cannot be used ({error}); `midword stats --delete` starts anew"
        ) from None


def _drop_old(database: sqlite3.Connection) -> None:
    oldest = (date.today() - timedelta(days=KEPT_DAYS)).isoformat()
    for table in ("counts", "latencies"):
        database.execute(f"DELETE FROM {table} WHERE day < ?", (oldest,))
        while database.execute(f"SELECT count(*) > {MOST_ROWS} FROM {table}").fetchone()[0]:
            database.execute(f"DELETE FROM {table} WHERE day = (SELECT min(day) FROM {table})")
