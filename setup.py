"""The native kernels, beside what pyproject.toml says.

Optional: where there is no C++ compiler the package is installed without them, and NumPy does their work.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nanobind
from setuptools import Extension, setup

NANOBIND = Path(nanobind.include_dir()).parent
EXCEPTIONS = ["-fno-math-errno", "-fno-trapping-math"]
"""Nobody looks at floating-point exceptions here, and loops that need not raise them can be vectorised."""
OPTIONS = (
    ["/O2", "/std:c++17", "/EHsc"]
    if sys.platform == "win32"
    else ["-O3", "-g0", "-std=c++17", "-fvisibility=hidden", "-ffp-contract=fast", *EXCEPTIONS]
)


NATIVE = Extension(
    "engine_kernels._native",
    sources=[f"kernels/native/{name}.cpp" for name in ("kernels", "transformer", "nanobind_library")],
    include_dirs=[str(NANOBIND / part) for part in ("include", "src", "ext/robin_map/include")],
    define_macros=[("NDEBUG", None), ("NB_COMPACT_ASSERTIONS", None)],
    depends=sorted(map(str, Path("kernels/native").glob("*.h"))),
    extra_compile_args=OPTIONS,
    extra_link_args=[] if sys.platform == "win32" else ["-pthread"],
    language="c++",
    optional=True,
)

setup(ext_modules=[NATIVE])
