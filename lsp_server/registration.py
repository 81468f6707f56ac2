"""Offering ordinary completion as the option `completionItems` says, also when it changes later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

_METHOD = types.TEXT_DOCUMENT_COMPLETION
_ID = "midword.completion"


class CompletionOffer:
    """Whether the client knows that it may ask. One that can hear of it later is told then, never twice."""

    def __init__(
        self, server: LanguageServer, handler: Callable[..., Any], options: types.CompletionOptions
    ) -> None:
        self._server = server
        self._handler = handler
        self._options = options
        self._hears_later = False
        self._is_known = False
        self._is_handled = False

    def start(self, client: types.ClientCapabilities, wanted: bool) -> None:
        """The answer to `initialize` is about to be made up."""
        completion = client.text_document.completion if client.text_document else None
        self._hears_later = bool(completion and completion.dynamic_registration)
        if wanted and not self._hears_later:
            self._handle()
            self._is_known = True

    def follow(self, wanted: bool) -> bool:
        """Tell the client what is wanted now. False if it should ask and cannot be told."""
        if wanted == self._is_known:
            return True
        if not self._hears_later:
            return not wanted  # it goes on asking, for nothing
        self._is_known = wanted
        if wanted:
            self._handle()
            self._register()
        else:
            gone = types.Unregistration(_ID, _METHOD)
            self._server.client_unregister_capability(types.UnregistrationParams([gone]))
        return True

    def _handle(self) -> None:
        if not self._is_handled:
            self._server.feature(_METHOD, self._options)(self._handler)
            self._is_handled = True

    def _register(self) -> None:
        options = types.CompletionRegistrationOptions(trigger_characters=self._options.trigger_characters)
        new = types.Registration(_ID, _METHOD, options)
        self._server.client_register_capability(types.RegistrationParams([new]))
