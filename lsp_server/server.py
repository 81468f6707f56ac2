"""The LSP features. Each handler unpacks, calls, packs; the work is in `session` and `pipeline`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lsprotocol import types
from pygls.exceptions import FeatureRequestError, JsonRpcException, JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer

from engine import __version__
from engine.errors import InputError, MidwordError
from lsp_server import feedback
from lsp_server.completion_items import completion_list
from lsp_server.documents import Edit, Position
from lsp_server.early import Early
from lsp_server.explaining import explanation_html
from lsp_server.greeting import COMMANDS, TRIGGERS
from lsp_server.pipeline import Item, complete, opened
from lsp_server.registration import CompletionOffer
from lsp_server.rpc import MidwordProtocol
from lsp_server.scheduler import Channel
from lsp_server.session import Session
from lsp_server.status import DID_CHANGE_STATUS, StatusReporter, status_of

ACCEPTED, EXPLAIN, RESTART, STATUS = COMMANDS
USAGE = "midword/usage"
# Of Copilot's language server. Nothing depends on them.
DID_SHOW = "textDocument/didShowCompletion"
DID_PARTLY_ACCEPT = "textDocument/didPartiallyAcceptCompletion"
DID_FOCUS = "textDocument/didFocus"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The argument of `midword.explain`."""

    uri: str
    position: types.Position


class MidwordServer(LanguageServer):
    """pygls' server with our session. One per connection."""

    protocol: MidwordProtocol

    def __init__(self, engine_command: Sequence[str] | None, early: Early) -> None:
        """`engine_command` replaces the engine's command line, for tests and development."""
        super().__init__("midword", __version__, protocol_cls=MidwordProtocol)
        self.session = Session(self.tell, self.note_usage, engine_command, early)
        self.reporter = StatusReporter(
            self.session, lambda payload: self.protocol.notify(DID_CHANGE_STATUS, payload)
        )
        self.session.on_change = self.reporter.changed
        options = types.CompletionOptions(trigger_characters=list(TRIGGERS))
        self.completion_offer = CompletionOffer(self, completion, options)
        self.exited = False
        """Whether messages are not read any more."""
        _register(self)

    def leave(self) -> None:
        """Read no more messages."""
        self.exited = True

    def tell(self, where: Literal["show", "log"], sentence: str) -> None:
        """Show or log one sentence in the editor."""
        kind = types.MessageType.Warning
        if where == "show":
            self.window_show_message(types.ShowMessageParams(kind, f"midword: {sentence}"))
        else:
            self.window_log_message(types.LogMessageParams(kind, f"midword: {sentence}"))

    def note_usage(self, note: dict[str, Any]) -> None:
        """Send what an answer cost to a client that asked for it."""
        self.protocol.notify(USAGE, note)

    def report_server_error(self, error: Exception, source: Any) -> None:
        """A fault outside a request (those are answered): the editor's log, without the message."""
        if source is FeatureRequestError:
            return
        self.tell("log", f"a message could not be handled ({type(error).__name__})")


def initialize(ls: MidwordServer, params: types.InitializeParams) -> None:
    """Take over the negotiated encoding, the folder and the options."""
    ls.session.encoding = types.PositionEncodingKind(ls.workspace.position_encoding).value
    ls.session.root_uri = ls.workspace.root_uri or ""
    ls.session.configure(params.initialization_options)
    _tell_folders(ls)
    ls.completion_offer.start(params.capabilities, ls.session.settings.completion_items)


def initialized(ls: MidwordServer, params: types.InitializedParams) -> None:
    """Load the model while the user is still looking for the first key."""
    ls.session.warm_up()
    ls.reporter.start()
    _offer_completion(ls)


def did_change_folders(ls: MidwordServer, params: types.DidChangeWorkspaceFoldersParams) -> None:
    """Folders were added or removed; pygls has them already."""
    _tell_folders(ls)


def did_change_configuration(ls: MidwordServer, params: types.DidChangeConfigurationParams) -> None:
    """New options; `null` is what clients send that want to be asked, and changes nothing."""
    if params.settings is not None:
        ls.session.configure(params.settings)
        ls.session.warm_up()
        _offer_completion(ls)


def did_open(ls: MidwordServer, params: types.DidOpenTextDocumentParams) -> None:
    """A document with its whole text."""
    document = params.text_document
    ls.session.open(document.uri, document.version, document.text, document.language_id)
    opened(ls.session, document.uri)


def did_change(ls: MidwordServer, params: types.DidChangeTextDocumentParams) -> None:
    """Edits, in order."""
    edits = [_edit(change) for change in params.content_changes]
    ls.session.change(params.text_document.uri, params.text_document.version, edits)


def did_close(ls: MidwordServer, params: types.DidCloseTextDocumentParams) -> None:
    """A document the editor no longer speaks about."""
    ls.session.close_document(params.text_document.uri)


async def inline_completion(
    ls: MidwordServer, params: types.InlineCompletionParams
) -> types.InlineCompletionList:
    """Ghost text at the cursor."""
    by_hand = params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    items = await _items(ls, params.text_document.uri, params.position, by_hand=by_hand, channel="inline")
    return types.InlineCompletionList([_inline_item(item) for item in items])


async def completion(ls: MidwordServer, params: types.CompletionParams) -> types.CompletionList:
    """The same as ordinary items, for editors without inline completion."""
    if not ls.session.settings.completion_items:
        return types.CompletionList(is_incomplete=True, items=[])
    items = await _items(ls, params.text_document.uri, params.position, by_hand=False, channel="list")
    document = ls.session.documents.get(params.text_document.uri)
    language = document.language if document else ""
    return completion_list(items, language, ls.session.encoding, [_accepted_command(item) for item in items])


def accepted(ls: MidwordServer, *arguments: Any) -> None:
    """The user took an item; the argument is the id it was shown with."""
    if arguments:
        feedback.accepted(ls.session, str(arguments[0]))


def did_show(ls: MidwordServer, params: Any) -> None:
    """The editor shows an item."""
    feedback.shown_by_client(ls.session, _item_id(params))


def did_partly_accept(ls: MidwordServer, params: Any) -> None:
    """The user took the beginning of an item."""
    length = getattr(params, "acceptedLength", None)
    if isinstance(length, int):
        feedback.partly_accepted(ls.session, _item_id(params), length)


def did_focus(ls: MidwordServer, params: Any) -> None:
    """The user came to a document, or to none."""
    uri = getattr(getattr(params, "textDocument", None), "uri", None)
    if isinstance(uri, str):
        feedback.focused(ls.session, uri)


async def explain(ls: MidwordServer, cursor: Cursor) -> dict[str, str]:
    """The page that explains the completion at a cursor."""
    position = Position(cursor.position.line, cursor.position.character)
    try:
        return {"html": await explanation_html(ls.session, cursor.uri, position)}
    except InputError as error:
        raise JsonRpcInvalidParams(str(error)) from None
    except MidwordError as error:
        raise JsonRpcException(str(error), types.LSPErrorCodes.RequestFailed) from None


async def restart(ls: MidwordServer) -> None:
    """End the engine and start it again."""
    await ls.session.restart()


def status(ls: MidwordServer, *arguments: Any) -> dict[str, Any]:
    """What `didChangeStatus` tells, for the document in the argument or the last one in use."""
    target = arguments[0] if arguments else None
    uri = target.get("uri") if isinstance(target, dict) else None
    return status_of(ls.session, uri if isinstance(uri, str) else None).payload()


async def shutdown(ls: MidwordServer, params: None) -> None:
    """Cancel what is in flight and end the engine before the answer."""
    await ls.session.close()


def exit_(ls: MidwordServer, params: None) -> None:
    """Stop reading messages."""
    ls.leave()


def _register(server: MidwordServer) -> None:
    server.feature(types.INITIALIZE)(initialize)
    server.feature(types.INITIALIZED)(initialized)
    server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(did_change_configuration)
    server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)(did_change_folders)
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(did_open)
    server.feature(types.TEXT_DOCUMENT_DID_CHANGE)(did_change)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(did_close)
    # Without options pygls advertises nothing.
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())(inline_completion)
    server.feature(DID_SHOW)(did_show)
    server.feature(DID_PARTLY_ACCEPT)(did_partly_accept)
    server.feature(DID_FOCUS)(did_focus)
    server.feature(types.SHUTDOWN)(shutdown)
    server.feature(types.EXIT)(exit_)
    server.command(ACCEPTED)(accepted)
    server.command(EXPLAIN)(explain)
    server.command(RESTART)(restart)
    server.command(STATUS)(status)


def _offer_completion(ls: MidwordServer) -> None:
    if not ls.completion_offer.follow(ls.session.settings.completion_items):
        ls.session.report_once(
            "option 'completionItems' takes effect when the server is started again: this editor does not "
            "register features later"
        )


def _tell_folders(ls: MidwordServer) -> None:
    folders = [ls.workspace.root_uri or "", *ls.workspace.folders]
    ls.session.set_folders(uri for uri in folders if uri)


def _item_id(params: Any) -> str:
    """The id in an item's command; empty if the item is not one of ours."""
    command = getattr(getattr(params, "item", None), "command", None)
    arguments = getattr(command, "arguments", None)
    return str(arguments[0]) if isinstance(arguments, list) and arguments else ""


def _edit(change: types.TextDocumentContentChangeEvent) -> Edit:
    if isinstance(change, types.TextDocumentContentChangePartial):
        start, end = change.range.start, change.range.end
        return Edit(change.text, Position(start.line, start.character), Position(end.line, end.character))
    return Edit(change.text)


async def _items(
    ls: MidwordServer, uri: str, place: types.Position, *, by_hand: bool, channel: Channel
) -> list[Item]:
    position = Position(place.line, place.character)
    try:
        return await complete(ls.session, uri, position, by_hand=by_hand, channel=channel)
    except InputError as error:
        raise JsonRpcInvalidParams(str(error)) from None


def _inline_item(item: Item) -> types.InlineCompletionItem:
    cursor = types.Position(item.position.line, item.position.column)
    command = _accepted_command(item)
    return types.InlineCompletionItem(item.text, range=types.Range(cursor, cursor), command=command)


def _accepted_command(item: Item) -> types.Command:
    return types.Command("Accepted a midword completion", ACCEPTED, arguments=[item.item_id])
