"""Whether libgomp hears how long its threads shall spin. It says so itself as it loads, when asked."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

IMPORTS = ("engine.backends.llama_cpp", "import_llama_cpp"), ("engine.models.quantize", "llama_cpp")


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP is what llama.cpp uses on Linux")
@pytest.mark.parametrize(("module", "function"), IMPORTS)
@pytest.mark.parametrize(("given", "heard"), [(None, "300"), ("7", "7")])
def test_libgomp_hears_how_long_to_spin(module: str, function: str, given: str | None, heard: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    environment |= {"OMP_DISPLAY_ENV": "verbose"} | ({} if given is None else {"GOMP_SPINCOUNT": given})
    code = f"from {module} import {function}; {function}()"
    argv = [sys.executable, "-P", "-c", code]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("llama.cpp is built with another OpenMP, or without")
    assert f"GOMP_SPINCOUNT = '{heard}'" in done.stderr
