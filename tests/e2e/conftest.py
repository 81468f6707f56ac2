from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine",
        choices=["scripted", "real"],
        default="scripted",
        help="which engine the end-to-end tests run against; real needs the default model",
    )
