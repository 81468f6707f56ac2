"""Tree-sitter's view of a source file (the extra `eval`, imported on use): errors, and tokens by class."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from engine.errors import InputError

LANGUAGES = {
    "python": ("tree_sitter_python", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "go": ("tree_sitter_go", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "c": ("tree_sitter_c", "language"),
}
"""Language → module of its grammar, and the function in it."""
TokenClass = Literal["identifier", "literal", "operator", "indentation"]
_LITERAL = ("string", "char", "integer", "float", "number", "regex", "int_literal", "rune")


@dataclass(frozen=True, slots=True)
class Token:
    """Bytes `start` to `end` of a file."""

    start: int
    end: int
    token_class: TokenClass


def syntax_errors(language: str, source: bytes) -> int | None:
    """Number of errors and missing tokens in `source`; None for a language without a grammar here."""
    if language not in LANGUAGES:
        return None
    nodes = [parser_of(language).parse(source).root_node]
    found = 0
    while nodes:
        node = nodes.pop()
        found += node.is_error or node.is_missing
        if node.has_error:
            nodes += node.children
    return found


def tokens_of(language: str, source: bytes) -> Iterator[Token]:
    """Identifiers, literals, operators and the indentation of lines; keywords and comments are left out."""
    for line_start in [0, *(n + 1 for n, byte in enumerate(source) if byte == ord("\n"))]:
        line = source[line_start:].partition(b"\n")[0]
        indent = len(line) - len(line.lstrip(b" \t"))
        if indent and line.strip():
            yield Token(line_start, line_start + indent, "indentation")
    nodes = [parser_of(language).parse(source).root_node]
    while nodes:
        node = nodes.pop()
        token_class = _class_of(node)
        if token_class and b"\n" not in source[node.start_byte : node.end_byte]:
            yield Token(node.start_byte, node.end_byte, token_class)
        elif not token_class:
            nodes += reversed(node.children)


def _class_of(node: Any) -> TokenClass | None:
    if node.type.endswith("identifier") and not node.children:
        return "identifier"
    if node.is_named and any(part in node.type for part in _LITERAL) and node.type != "concatenated_string":
        return "literal"
    is_sign = not node.is_named and not node.children and not any(char.isalnum() for char in node.type)
    return "operator" if is_sign and node.type.strip("()[]{};,:.\"'`") else None


@cache
def parser_of(language: str) -> Any:
    """Raises InputError with an install hint if tree-sitter is not installed."""
    module, function = LANGUAGES[language]
    try:
        tree_sitter = importlib.import_module("tree_sitter")
        grammar = getattr(importlib.import_module(module), function)()
    except ImportError:
        raise InputError('tree-sitter is missing; install it with: pip install "midword[eval]"') from None
    return tree_sitter.Parser(tree_sitter.Language(grammar))
