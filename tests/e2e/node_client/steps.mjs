// Carries out a list of steps against a server, with Microsoft's own protocol library, and prints one JSON line:
// what each request was answered, what the server said besides, and how it ended.
//
//   node steps.mjs SCENARIO.json SERVER [ARGUMENTS…]
//
// SCENARIO: {encodings, folders, options, steps}. A step is {do: …} with
//   open {uri, text}, change {uri, changes}, close {uri}, ask {as, uri, line, character}, cancel {ask},
//   wait {for}: until that ask is answered, settle: until all are.
// Versions are counted here. After the last step the server is shut down, whatever is still unanswered.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import * as lsp from "vscode-languageserver-protocol/node";

const [scenarioPath, command, ...serverArguments] = process.argv.slice(2);
const scenario = JSON.parse(readFileSync(scenarioPath, "utf8"));

const server = spawn(command, serverArguments, { stdio: ["pipe", "pipe", "inherit"] });
const ended = new Promise((resolve) => server.on("exit", (code) => resolve(code)));
const connection = lsp.createProtocolConnection(server.stdout, server.stdin);
const messages = [];
connection.onNotification(lsp.ShowMessageNotification.type, ({ message }) => messages.push(message));
connection.onNotification(lsp.LogMessageNotification.type, ({ message }) => messages.push(message));
connection.listen();

const folders = scenario.folders.map((uri) => ({ uri, name: uri }));
const { capabilities } = await connection.sendRequest(lsp.InitializeRequest.type, {
  processId: process.pid,
  rootUri: scenario.folders[0] ?? null,
  workspaceFolders: folders,
  capabilities: {
    general: { positionEncodings: scenario.encodings },
    workspace: { workspaceFolders: true },
  },
  initializationOptions: scenario.options,
});
await connection.sendNotification(lsp.InitializedNotification.type, {});

const asked = {};
const outcomes = {};
const versions = {};

const actions = {
  open: ({ uri, text }) => {
    versions[uri] = 1;
    const textDocument = { uri, languageId: "python", version: 1, text };
    return connection.sendNotification(lsp.DidOpenTextDocumentNotification.type, { textDocument });
  },
  change: ({ uri, changes }) => {
    const textDocument = { uri, version: ++versions[uri] };
    const change = { textDocument, contentChanges: changes };
    return connection.sendNotification(lsp.DidChangeTextDocumentNotification.type, change);
  },
  close: ({ uri }) =>
    connection.sendNotification(lsp.DidCloseTextDocumentNotification.type, { textDocument: { uri } }),
  ask: ({ as, uri, line, character }) => {
    const source = new lsp.CancellationTokenSource();
    const context = { triggerKind: lsp.InlineCompletionTriggerKind.Automatic };
    const parameters = { textDocument: { uri }, position: { line, character }, context };
    const answer = connection.sendRequest(lsp.InlineCompletionRequest.type, parameters, source.token).then(
      ({ items }) => {
        outcomes[as] = { items };
      },
      ({ code }) => {
        outcomes[as] = { code };
      },
    );
    asked[as] = { source, answer };
  },
  cancel: ({ ask }) => asked[ask].source.cancel(),
  wait: (step) => asked[step.for].answer,
  settle: () => Promise.all(Object.values(asked).map(({ answer }) => answer)),
};
for (const step of scenario.steps) {
  await actions[step.do](step);
}
await connection.sendRequest(lsp.ShutdownRequest.type);
await actions.settle();
await connection.sendNotification(lsp.ExitNotification.type);
const exitCode = await ended;
connection.dispose();
console.log(JSON.stringify({ encoding: capabilities.positionEncoding, outcomes, messages, exitCode }));
process.exit(0);
