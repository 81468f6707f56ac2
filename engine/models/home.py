"""Where midword keeps models and what it was told about them.

`MIDWORD_HOME` names one folder for everything; without it models go to the user's cache folder
and small files (own registry, tuned weight types) to the user's data folder.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import platformdirs

from engine.errors import DownloadError

_TUNED = "tuned.json"


def models_dir() -> Path:
    """The folder with one folder per model. It need not exist."""
    return _cache_dir() / "models"


def tables_dir() -> Path:
    """The folder of what was derived from vocabularies and can be derived again. It need not exist."""
    return _cache_dir() / "tables"


def _cache_dir() -> Path:
    home = os.environ.get("MIDWORD_HOME")
    return Path(home).expanduser() if home else Path(platformdirs.user_cache_dir("midword"))


def data_dir() -> Path:
    """The folder of the user's `registry.toml` and of `tuned.json`. It need not exist."""
    home = os.environ.get("MIDWORD_HOME")
    return Path(home).expanduser() if home else Path(platformdirs.user_data_dir("midword"))


def state_dir() -> Path:
    """The folder of counts of what happened here (`midword stats`). It need not exist."""
    home = os.environ.get("MIDWORD_HOME")
    return Path(home).expanduser() if home else Path(platformdirs.user_state_dir("midword"))


def tuned_weights(name: str) -> str | None:
    """The weight type that `midword models tune` picked here for model `name`, such as `q8_0`."""
    picked = _tuned().get(name)
    return str(picked["weights"]) if isinstance(picked, dict) and "weights" in picked else None


def save_tuned(name: str, record: dict[str, Any] | None) -> None:
    """Store what was picked for `name` (`record["weights"]`) and measured; None forgets it.

    Raises DownloadError if the folder cannot be written.
    """
    tuned = _tuned()
    if record is None and name not in tuned:
        return
    tuned.pop(name, None)
    if record is not None:
        tuned[name] = record
    path = data_dir() / _TUNED
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(tuned, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise DownloadError(f"{path} cannot be written: {error.strerror}; the pick was not stored") from None


def _tuned() -> dict[str, Any]:
    """All picks; a file that is not ours to read or is damaged counts as no picks: tuning is optional."""
    try:
        found = json.loads((data_dir() / _TUNED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
