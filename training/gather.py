"""Gather training text: packages → clean, deduplicated, decontaminated files, split by package.

    python -m training.gather --benchmark DIR [--out build/training]

Writes `train.jsonl.xz` and `heldout.jsonl.xz`, a file a line ({"package", "path", "language", "text"}), and
`sources.json`: licences, counts, and why files were left out. `--benchmark` is a folder of gzipped JSON lines
(HumanEval-Infilling's): whatever shares thirteen words in a row with one of its programs is dropped, and so
are copies of the files that `midword eval` has its cursors in.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from engine.errors import DownloadError
from lsp_server.evaluation import sources
from training.packages import Package, fetch, members, read_packages
from training.sieve import Sieve, read_benchmark


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file that is taken; `text` is UTF-8 with `\\n` line ends."""

    package: str
    path: str
    language: str
    text: str


def files_of(package: Package, archive: Path, sieve: Sieve, cap_bytes: int) -> list[SourceFile]:
    """The files taken from one package, at most `cap_bytes`; which ones stay is drawn by their hash."""
    taken = [
        SourceFile(package.name, path, language, text)
        for path, language, content in members(package, archive)
        if (text := sieve.take(content)) is not None
    ]
    taken.sort(key=lambda file: hashlib.sha256(file.text.encode()).digest())
    total = 0
    for count, file in enumerate(taken):
        total += len(file.text.encode())
        if total > cap_bytes:
            sieve.dropped["over the package's share"] += len(taken) - count
            return taken[:count]
    return taken


def write(path: Path, files: Iterable[SourceFile]) -> None:
    """One JSON object a line, xz-compressed if the path ends so."""
    with (lzma.open if path.suffix == ".xz" else open)(path, "wt", encoding="utf-8") as out:
        for file in files:
            entry = {key: getattr(file, key) for key in SourceFile.__slots__}
            out.write(json.dumps(entry, ensure_ascii=False) + "\n")


def read(path: Path) -> list[SourceFile]:
    """What `write` wrote."""
    with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf-8") as lines:
        return [SourceFile(**json.loads(line)) for line in lines]


def main() -> int:
    """Returns 0, or 2 after one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m training.gather", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--benchmark", type=Path, required=True, help="folder of the benchmark's *.jsonl.gz")
    parser.add_argument("--out", type=Path, default=Path("build/training"))
    parser.add_argument("--packages", type=Path, default=Path(__file__).with_name("packages.toml"))
    parser.add_argument("--only", nargs="*", help="names of the packages to take; all unless given")
    parser.add_argument("--plain", action="store_true", help="also train.jsonl, before the slow compression")
    options = parser.parse_args()
    try:
        gather(options.packages, options.benchmark, options.out, options.only, options.plain)
    except (OSError, ValueError, DownloadError) as error:
        print(f"gather: {error}", file=sys.stderr)
        return 2
    return 0


def withhold_evaluation(entries: Iterable[Package], sieve: Sieve) -> None:
    """No file of the packages that models are evaluated with is taken, in whatever package it stands.

    Raises ValueError if one of them is on the list, DownloadError.
    """
    evaluated = sources.packages()
    if both := {entry.name for entry in entries} & {package.name for package in evaluated}:
        raise ValueError(f"models are evaluated with {', '.join(sorted(both))}: take it off the list")
    for package in evaluated:
        for source in sources.sources(package):
            sieve.withhold(source.text)


def gather(packages: Path, benchmark: Path, out: Path, only: list[str] | None, plain: bool = False) -> None:
    """Fetch, sieve, split and write. Raises OSError, ValueError, DownloadError."""
    entries, cap_bytes = read_packages(packages)
    entries = [entry for entry in entries if not only or entry.name in only]
    splits: dict[bool, list[SourceFile]] = {False: [], True: []}
    report = []
    sieve = Sieve(read_benchmark(benchmark))
    withhold_evaluation(entries, sieve)
    # held-out packages come first: of two equal files the held-out one stays
    for package in track(sorted(entries, key=lambda entry: not entry.heldout), description="packages"):
        sieve.dropped.clear()
        share = sys.maxsize if package.heldout else cap_bytes
        files = files_of(package, fetch(package, out / "packages"), sieve, share)
        splits[package.heldout] += files
        size = sum(len(file.text.encode()) for file in files)
        report.append(
            {"package": package.name, "version": package.version, "licence": package.licence,
             "heldout": package.heldout, "files": len(files), "bytes": size, "dropped": dict(sieve.dropped)}
        )  # fmt: skip
        print(f"{package.name:16} {len(files):6} files {size / 1e6:7.1f} MB  dropped: {dict(sieve.dropped)}")
    (out / "sources.json").write_text(json.dumps(report, indent=1) + "\n")
    write(out / "heldout.jsonl.xz", splits[True])
    if plain:
        write(out / "train.jsonl", splits[False])
    write(out / "train.jsonl.xz", splits[False])


if __name__ == "__main__":
    sys.exit(main())
