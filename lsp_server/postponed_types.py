"""lsprotocol's message types, completed one by one when they are first used.

lsprotocol has over 500 classes, and attrs writes and compiles the methods of each while they are imported:
four tenths of a second, of which a session needs those of 40 classes. So for lsprotocol's own modules alone
`attrs.define` only notes a class. Whoever creates an instance or asks for fields finds it completed.

Nothing is patched: the two modules import `attrs` through an import function of their own. Types that are
made in another way some day are imported as they are. See docs/decisions/0017-types-completed-on-use.md.
"""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

import attrs

_TYPES = "lsprotocol.types"
_MODULES = (_TYPES, "lsprotocol._hooks")
_noted: set[type] = set()
_lock = threading.RLock()


def import_types() -> None:
    """Import lsprotocol this way, unless it has been imported already."""
    if _TYPES in sys.modules:
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        import lsprotocol.converters  # noqa: F401
    finally:
        sys.meta_path.remove(finder)


def incomplete() -> frozenset[type]:
    """The types that nobody has used so far."""
    return frozenset(_noted)


class _Finder:
    """Finds lsprotocol's modules where they are, and has them loaded by `_Loader`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in _MODULES else None
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Runs a module to which `import attrs` gives `_Attrs`."""

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import}
        super().exec_module(module)


def _import(name: str, *options: Any, **more: Any) -> Any:
    return _PROXY if name == "attrs" else __import__(name, *options, **more)


class _Attrs(ModuleType):
    """attrs, for which a noted class is one of its own."""

    def __getattr__(self, name: str) -> Any:
        return getattr(attrs, name)

    def define(self, cls: type | None = None, **options: Any) -> Any:
        """`attrs.define` without options is put off until `_complete`."""
        return attrs.define(cls, **options) if cls is None or options else _note(cls)

    def has(self, cls: type) -> bool:
        return cls in _noted or attrs.has(cls)

    def resolve_types(self, cls: type, *names: Any, **more: Any) -> Any:
        return cls if cls in _noted else attrs.resolve_types(cls, *names, **more)


_PROXY = _Attrs("attrs")


class _Fields:
    """Stands for the fields of a noted class, which attrs and cattrs look for."""

    def __init__(self, noted: type) -> None:
        self._noted = noted

    def __get__(self, instance: object, owner: type) -> Any:
        _complete(self._noted)
        return owner.__attrs_attrs__  # type: ignore[attr-defined]


def _note(cls: type) -> type:
    def init(self: Any, *values: Any, **named: Any) -> None:
        _complete(cls)
        self.__init__(*values, **named)

    cls.__init__ = init  # type: ignore[misc]
    cls.__attrs_attrs__ = _Fields(cls)  # type: ignore[attr-defined]
    _noted.add(cls)
    return cls


def _complete(cls: type) -> None:
    """What `attrs.define` would have done, in place: the class is known by many already."""
    with _lock:
        if cls in _noted:
            _noted.remove(cls)
            del cls.__init__, cls.__attrs_attrs__  # type: ignore[attr-defined, misc]
            attrs.define(cls, slots=False)
            attrs.resolve_types(cls, sys.modules[_TYPES].ALL_TYPES_MAP, {})
