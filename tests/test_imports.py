"""The arrows between the packages, and what is not imported until it is needed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODEL_LIBRARIES = {"llama_cpp", "torch", "transformers"}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def top_level_imports(package: str) -> dict[str, set[str]]:
    """File of `package` → top-level names it imports."""
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    return {str(path.relative_to(ROOT)): {name.split(".")[0] for name in imports(path)} for path in files}


def modules_after(code: str, *options: str) -> set[str]:
    """Top-level modules loaded in a fresh interpreter, outside of the repository's folder."""
    report = "import json, sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    answer = subprocess.run(
        [sys.executable, "-P", *options, "-c", f"{code}\n{report}"],
        capture_output=True, text=True, check=True, cwd=ROOT.anchor, timeout=60,
    )  # fmt: skip
    return set(json.loads(answer.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("engine", {"lsp_server", "pygls", "lsprotocol", "bench", "tests"}),
        ("lsp_server", {*MODEL_LIBRARIES, "bench", "tests"}),
        ("kernels/engine_kernels", {"engine", "lsp_server", "bench", "tests"}),
    ],
)
def test_arrows(package: str, forbidden: set[str]) -> None:
    wrong = {path: names & forbidden for path, names in top_level_imports(package).items()}
    assert not {path: names for path, names in wrong.items() if names}


def test_the_version_is_told_without_loading_anything() -> None:
    code = (
        "from lsp_server.__main__ import main\n"
        "try: main(['--version'])\n"
        "except SystemExit as end: assert end.code == 0"
    )
    assert not modules_after(code) & {*MODEL_LIBRARIES, "pygls", "lsprotocol", "numpy", "rich"}


def test_every_module_of_the_server_is_imported_without_a_model_library() -> None:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts)
             for path in sorted((ROOT / "lsp_server").rglob("*.py"))]  # fmt: skip
    loaded = modules_after("\n".join(f"import {name.removesuffix('.__init__')}" for name in names))
    assert "pygls" in loaded and not loaded & MODEL_LIBRARIES


def test_initialize_imports_no_model_library() -> None:
    """The server's own imports, from start to exit; the engine is another process, here one that waits."""
    frames = b""
    for message in (
        {"id": 1, "method": "initialize", "params": {"processId": None, "rootUri": None, "capabilities": {}}},
        {"method": "initialized", "params": {}},
        {"method": "exit"},
    ):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        frames += b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    answer = subprocess.run(
        [sys.executable, "-P", "-X", "importtime", "-m", "lsp_server", "lsp", "--stdio",
         "--engine-command", f"{sys.executable} -c input()"],
        input=frames, capture_output=True, cwd=ROOT.anchor, timeout=60,
    )  # fmt: skip
    assert b"inlineCompletionProvider" in answer.stdout
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in answer.stderr.decode().splitlines()}
    assert "pygls" in loaded and not loaded & MODEL_LIBRARIES


def test_the_engine_starts_without_what_few_sessions_need() -> None:
    code = "import json, sys, engine.model, engine.service; print(json.dumps(list(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(answer.stdout))
    assert "engine.completer" in loaded
    assert not loaded & {"engine.explain", "engine.models.hf_folder", "engine.tokenizers.tokenizer_json"}


def test_kernels_is_no_importable_name() -> None:
    """Hugging Face's `kernels` owns it, and transformers probes for it: ours must not answer.

    Asked in a process of its own: pytest's has the repository on its path, where any folder is found.
    """
    assert not (ROOT / "kernels" / "__init__.py").exists()
    code = "import importlib.util; spec = importlib.util.find_spec('kernels'); print(spec and spec.origin)"
    answer = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True, text=True, check=True, cwd=ROOT.anchor, timeout=60,
    )  # fmt: skip
    origin = answer.stdout.strip()
    assert origin == "None" or not Path(origin).is_relative_to(ROOT)
