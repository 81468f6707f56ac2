"""lsprotocol's types that are completed on use are those that attrs completes at once, and few are used."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

POSTPONED = "from lsp_server import postponed_types; postponed_types.import_types()\n"
FIELDS = """
import inspect, json, re, attrs
from lsprotocol import converters, types
converters.get_converter()
classes = [c for c in types.ALL_TYPES_MAP.values() if isinstance(c, type) and attrs.has(c)]
found = {}
for c in classes:
    fields = [(f.name, f.type, f.default, f.validator, f.kw_only, f.eq) for f in attrs.fields(c)]
    methods = [inspect.signature(c), c.__hash__, c.__eq__ is object.__eq__, c.__match_args__]
    found[c.__name__] = re.sub(" at 0x[0-9a-f]+", "", repr((fields, methods)))
print(json.dumps(found))
"""
MESSAGES = """
import json
from lsprotocol import types
from pygls.protocol import default_converter
converter = default_converter()
at = {"line": 1, "character": 2}
where = {"start": at, "end": {"line": 3, "character": 4}}
client = {
    "workspace": {"applyEdit": True},
    "textDocument": {"completion": {"completionItem": {"snippetSupport": False}}},
}
folders = [{"uri": "a", "name": "a"}]
started = {"processId": None, "rootUri": None, "capabilities": client, "workspaceFolders": folders}
changed = {
    "textDocument": {"uri": "a", "version": 3},
    "contentChanges": [{"range": where, "text": "x"}, {"text": "whole"}],
}
asked = {"textDocument": {"uri": "a"}, "position": at, "context": {"triggerKind": 2}}
found = []
for kind, message in [
    (types.InitializeRequest, {"id": 1, "method": "initialize", "params": started}),
    (types.DidChangeTextDocumentNotification, {"method": "textDocument/didChange", "params": changed}),
    (types.InlineCompletionParams, asked),
    (types.CompletionItem, {"label": "a", "kind": 3, "textEdit": {"newText": "b", "range": where}}),
    (types.Position, {"line": "one", "character": 0}),
    (types.Position, {"line": -1, "character": 0}),
    (types.Location, {"uri": 3, "range": where}),
    (types.Range, {"start": at}),
]:
    try:
        read, again = converter.structure(message, kind), converter.structure(message, kind)
        found.append([repr(read), converter.unstructure(read, kind), read == again])
    except Exception as error:
        found.append(type(error).__name__)
first, second = types.Position(1, 2), types.Position(1, 3)
found += [first < second, first == types.Position(1, 2), repr(types.Range(first, second))]
print(json.dumps(found))
"""
SESSION = """
import asyncio, json, attr, attrs
from lsp_server import transport
from lsp_server.greeting import frame

class Out:
    def write(self, data): pass
    def close(self): pass

start = {"processId": None, "rootUri": None, "capabilities": {}, "initializationOptions": {"enabled": False}}
document = {"uri": "file:///a.py", "languageId": "python", "version": 1, "text": "x.hel"}
asked = {"textDocument": document, "position": {"line": 0, "character": 5}, "context": {"triggerKind": 2}}

async def run():
    reader = asyncio.StreamReader()
    for message in [
        {"id": 1, "method": "initialize", "params": start},
        {"method": "initialized", "params": {}},
        {"method": "textDocument/didOpen", "params": {"textDocument": document}},
        {"id": 2, "method": "textDocument/inlineCompletion", "params": asked},
        {"id": 3, "method": "shutdown"},
        {"method": "exit"},
    ]:
        reader.feed_data(frame({"jsonrpc": "2.0", **message}))
    return await transport.serve(reader, Out())

before = attrs.define, __import__
code = asyncio.run(run())
from lsp_server.postponed_types import incomplete
print(json.dumps([code, len(incomplete()), before == (attrs.define, __import__)]))
"""


def printed(code: str) -> Any:
    """What a fresh interpreter prints, as JSON."""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.parametrize("code", [FIELDS, MESSAGES])
def test_they_are_what_attrs_makes_of_them(code: str) -> None:
    found, expected = printed(POSTPONED + code), printed(code)
    assert found == expected and len(expected) > 10


def test_a_session_completes_a_few_and_leaves_attrs_alone() -> None:
    code, incomplete, is_untouched = printed(SESSION)
    assert code == 0 and incomplete > 450 and is_untouched
