"""The engine is started from the raw first message, while the server itself is still being imported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lsp_server.engine_client import EngineClient, engine_argv
from lsp_server.options import Settings, parse


@dataclass(frozen=True, slots=True)
class Early:
    """What is there before the server is: the settings so far, and the engine that is loading for them."""

    settings: Settings
    engine: EngineClient | None


async def early_start(body: bytes, engine_command: Sequence[str] | None = None) -> Early:
    """Start the engine that `body`, an `initialize` request, asks for.

    Nothing is started for any other body: the server will refuse it and say why.
    """
    settings = _settings(body)
    if settings is None:
        return Early(Settings(), None)
    if not settings.enabled:
        return Early(settings, None)
    engine = EngineClient(engine_command or engine_argv(settings.model), on_outage=lambda reason: None)
    await engine.launched()
    return Early(settings, engine)


def parsed(body: bytes) -> Any:
    """The message in `body`; None if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _settings(body: bytes) -> Settings | None:
    """The settings in an `initialize` request; None if it is none. Problems are reported later."""
    try:
        message = parsed(body)
        if message["method"] != "initialize":
            return None
        return parse(message["params"].get("initializationOptions"))[0]
    except (LookupError, TypeError, AttributeError):
        return None
