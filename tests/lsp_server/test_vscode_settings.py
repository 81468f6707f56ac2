"""The settings that VS Code declares are those of the server, with the same defaults and limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lsp_server.options import _CHOICES, _LIMITS, _NAMES, Settings

PACKAGE = Path(__file__).parents[2] / "editors/vscode/package.json"
OF_THE_SERVER_ALONE = {"method", "drafts", "reportUsage", "reportStatus", "completionItems", "languages"}
"""For other clients, or made from settings of other names."""


@pytest.fixture(scope="module")
def properties() -> dict[str, Any]:
    package = json.loads(PACKAGE.read_text())
    found = package["contributes"]["configuration"]["properties"]
    return {name.removeprefix("midword."): value for name, value in found.items()}


def test_every_option_can_be_set(properties: dict[str, Any]) -> None:
    assert set(_NAMES) - OF_THE_SERVER_ALONE <= set(properties)


@pytest.mark.parametrize("name", sorted(set(_NAMES) - OF_THE_SERVER_ALONE))
def test_default_and_limits(properties: dict[str, Any], name: str) -> None:
    declared = properties[name]
    default = getattr(Settings(), _NAMES[name])
    assert declared["default"] == (list(default) if isinstance(default, tuple) else default)
    assert (declared.get("minimum"), declared.get("maximum")) == _LIMITS.get(name, (None, None))
    assert tuple(declared.get("enum", ())) == _CHOICES.get(name, ())


def test_what_is_run_is_never_taken_from_a_workspace(properties: dict[str, Any]) -> None:
    for name in ("serverPath", "pythonPath"):
        assert properties[name]["scope"] == "machine"
    trust = json.loads(PACKAGE.read_text())["capabilities"]["untrustedWorkspaces"]
    assert trust["supported"] == "limited"
    assert "midword.model" in trust["restrictedConfigurations"]
