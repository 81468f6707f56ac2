/** Start and end of the extension. */
import { type ExtensionContext, window, workspace } from "vscode";
import { registerCommands } from "./commands";
import { FileSwitches } from "./fileSwitches";
import { offerInstallation } from "./installCommand";
import { LastEditor } from "./lastEditor";
import { Server } from "./server";
import { StatusItem } from "./statusItem";

let server: Server | undefined;

export async function activate(context: ExtensionContext): Promise<void> {
  const log = window.createOutputChannel("midword", { log: true });
  const files = new FileSwitches(context.workspaceState);
  const started = new Server(context, files, log);
  server = started;
  const item = new StatusItem(started, files);
  const last = new LastEditor();
  context.subscriptions.push(
    log,
    item,
    last,
    ...registerCommands({ server: started, files, last, item, log }),
    workspace.onDidChangeConfiguration(async (change) => {
      if (change.affectsConfiguration("midword")) {
        await started.restart();
        await started.configure();
      }
    }),
    window.onDidChangeActiveTextEditor((editor) => editor && started.focus(editor.document.uri.toString())),
  );
  await started.restart();
  const editor = window.activeTextEditor;
  if (editor) {
    await started.focus(editor.document.uri.toString());
  }
  void offerInstallation(started, context);
}

export async function deactivate(): Promise<void> {
  await server?.dispose();
}
