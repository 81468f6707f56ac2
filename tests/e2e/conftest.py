from __future__ import annotations

import pytest

from tests.e2e.node import node_with_packages


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine",
        choices=["scripted", "real"],
        default="scripted",
        help="which engine the end-to-end tests run against; real needs the default model",
    )


@pytest.fixture(scope="session")
def node() -> str:
    """Node with the client's packages."""
    return node_with_packages()
