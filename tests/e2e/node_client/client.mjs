// A headless editor on Microsoft's own protocol library. Opens a file, types, cancels older requests as
// VS Code does, accepts what it got, and prints one JSON line for the test to look at.
//
//   node client.mjs SCENARIO.json SERVER [ARGUMENTS…]
//
// SCENARIO: {path, uri, line, character, typed, keyMs, waitMs}: the file is opened without `typed`, which
// is then typed at (line, character), UTF-16.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import * as lsp from "vscode-languageserver-protocol/node";

const [scenarioPath, command, ...serverArguments] = process.argv.slice(2);
const scenario = JSON.parse(readFileSync(scenarioPath, "utf8"));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const server = spawn(command, serverArguments, { stdio: ["pipe", "pipe", "inherit"] });
const ended = new Promise((resolve) => server.on("exit", (code) => resolve(code)));
const connection = lsp.createProtocolConnection(server.stdout, server.stdin);
const messages = [];
connection.onNotification(lsp.ShowMessageNotification.type, ({ message }) => messages.push(message));
connection.onNotification(lsp.LogMessageNotification.type, ({ message }) => messages.push(message));
connection.listen();

const started = performance.now();
const { capabilities } = await connection.sendRequest(lsp.InitializeRequest.type, {
  processId: process.pid,
  rootUri: null,
  capabilities: { general: { positionEncodings: ["utf-16"] }, textDocument: { inlineCompletion: {} } },
  initializationOptions: scenario.options ?? null,
});
const initializeMs = performance.now() - started;
await connection.sendNotification(lsp.InitializedNotification.type, {});

const text = readFileSync(scenario.path, "utf8");
await connection.sendNotification(lsp.DidOpenTextDocumentNotification.type, {
  textDocument: { uri: scenario.uri, languageId: "python", version: 1, text },
});

function ask(character) {
  const source = new lsp.CancellationTokenSource();
  const parameters = {
    textDocument: { uri: scenario.uri },
    position: { line: scenario.line, character },
    context: { triggerKind: lsp.InlineCompletionTriggerKind.Automatic },
  };
  const answer = connection
    .sendRequest(lsp.InlineCompletionRequest.type, parameters, source.token)
    .then((list) => ({ list }), (error) => ({ code: error.code }));
  return { source, answer };
}

const requests = [];
let character = scenario.character;
let version = 1;
for (const key of scenario.typed) {
  requests.at(-1)?.source.cancel();
  const place = { line: scenario.line, character };
  await connection.sendNotification(lsp.DidChangeTextDocumentNotification.type, {
    textDocument: { uri: scenario.uri, version: ++version },
    contentChanges: [{ range: { start: place, end: place }, text: key }],
  });
  character += key.length;
  requests.push(ask(character));
  await pause(scenario.keyMs);
}

const outcomes = await Promise.race([
  Promise.all(requests.map((request) => request.answer)),
  pause(scenario.waitMs).then(() => null),
]);
const items = outcomes?.at(-1)?.list?.items ?? [];
const accepted = items[0]?.command;
if (accepted) {
  await connection.sendRequest(lsp.ExecuteCommandRequest.type, accepted);
}
await connection.sendRequest(lsp.ShutdownRequest.type);
await connection.sendNotification(lsp.ExitNotification.type);
const exitCode = await ended;
connection.dispose();
const codes = outcomes?.map((outcome) => outcome.code ?? null);
console.log(JSON.stringify({ capabilities, initializeMs, items, codes, messages, exitCode }));
process.exit(0); // the timer of waitMs may still be running
