/** The commands of the palette and of the menu. Each asks, calls and shows; failures are one sentence. */
import { totalmem } from "node:os";
import {
  commands,
  type Disposable,
  type LogOutputChannel,
  ProgressLocation,
  type TextEditor,
  window,
} from "vscode";
import { actionsFor } from "./actions";
import { midword, midwordPage } from "./commandLine";
import { commandLineCursor } from "./cursor";
import type { FileSwitches } from "./fileSwitches";
import { installServer } from "./installCommand";
import type { LastEditor } from "./lastEditor";
import { type Model, modelRows, parseModels } from "./models";
import { showPage } from "./pages";
import { ProgramError } from "./processes";
import { pullPercent } from "./progress";
import type { Server } from "./server";
import { setModel, stringSetting, toggle } from "./settings";
import { activeDocument, type StatusItem } from "./statusItem";

export interface Parts {
  readonly server: Server;
  readonly files: FileSwitches;
  readonly last: LastEditor;
  readonly item: StatusItem;
  readonly log: LogOutputChannel;
}

export function registerCommands(parts: Parts): Disposable[] {
  const all: Record<string, () => Promise<void>> = {
    menu: () => showMenu(parts),
    toggle: () => toggle(),
    toggleLanguage: () => withEditor(parts, (editor) => toggle(editor.document.languageId)),
    toggleFile: () => withEditor(parts, (editor) => toggleFile(parts, editor)),
    chooseModel: () => chooseModel(parts.server),
    installServer: () => installServer(parts.server, parts.log),
    restartServer: () => parts.server.restart(true),
    showLog: async () => parts.log.show(),
    explainCompletion: () => withEditor(parts, (editor) => explain(parts.server, editor)),
    showStatistics: () => showStatistics(parts.server),
  };
  return Object.entries(all).map(([name, command]) =>
    commands.registerCommand(`midword.${name}`, () => withErrorsShown(command)),
  );
}

async function withErrorsShown(command: () => Promise<void>): Promise<void> {
  try {
    await command();
  } catch (error) {
    if (!(error instanceof ProgramError)) {
      throw error;
    }
    const said = error.message.replace(/^midword: /, "");
    if ((await window.showErrorMessage(`midword: ${said}`, "Show Log")) !== undefined) {
      await commands.executeCommand("midword.showLog");
    }
  }
}

async function withEditor({ last }: Parts, command: (editor: TextEditor) => Promise<void>): Promise<void> {
  if (last.editor === undefined) {
    throw new ProgramError("No file is open; open one first.");
  }
  await command(last.editor);
}

async function showMenu({ server, files }: Parts): Promise<void> {
  const actions = actionsFor(server.state, activeDocument(files));
  const chosen = await window.showQuickPick(actions, { title: "midword", placeHolder: "What to do" });
  if (chosen) {
    await commands.executeCommand(chosen.command, ...(chosen.argument ? [chosen.argument] : []));
  }
}

async function toggleFile({ files, item }: Parts, editor: TextEditor): Promise<void> {
  await files.toggle(editor.document.uri);
  await commands.executeCommand("editor.action.inlineSuggest.hide");
  item.draw();
}

async function chooseModel(server: Server): Promise<void> {
  const models = parseModels(await midword(server, ["models", "list", "--json"]));
  const rows = modelRows(models, totalmem(), stringSetting("model") || (server.state.status?.model ?? ""));
  const title = "midword: choose a model";
  const chosen = await window.showQuickPick(rows, { title, matchOnDescription: true, matchOnDetail: true });
  if (chosen && (chosen.model.pulled.length > 0 || (await pull(server, chosen.model)))) {
    await setModel(chosen.model.name);
  }
}

/** False if the user cancelled it. Rejects with ProgramError. */
async function pull(server: Server, { name }: Model): Promise<boolean> {
  const title = `midword: downloading ${name}`;
  const where = { location: ProgressLocation.Notification, title, cancellable: true };
  return window.withProgress(where, async (progress, token) => {
    const stop = new AbortController();
    token.onCancellationRequested(() => stop.abort());
    let shown = 0;
    const onLine = (line: string) => {
      const percent = pullPercent(line);
      if (percent !== undefined) {
        progress.report({ message: line.trim(), increment: Math.max(0, percent - shown) });
        shown = Math.max(shown, percent);
      }
    };
    try {
      await midword(server, ["models", "pull", name], { onLine, signal: stop.signal });
      return true;
    } catch (error) {
      if (stop.signal.aborted) {
        return false;
      }
      throw error;
    }
  });
}

async function explain(server: Server, { document, selection }: TextEditor): Promise<void> {
  const { line, character } = selection.active;
  const where = { location: ProgressLocation.Window, title: "midword explains" };
  const html = await window.withProgress(where, async () => {
    const question = { uri: document.uri.toString(), position: { line, character } };
    const answer = await server.execute<{ html: string }>("midword.explain", question);
    if (answer !== undefined) {
      return answer.html;
    }
    if (document.uri.scheme !== "file" || document.isDirty) {
      throw new ProgramError("This version of the server explains saved files only; save the file first.");
    }
    const cursor = commandLineCursor(document.lineAt(line).text, line, character);
    return midwordPage(server, ["explain", document.uri.fsPath, ...cursor]);
  });
  showPage("explain", "Why this completion?", html);
}

async function showStatistics(server: Server): Promise<void> {
  const where = { location: ProgressLocation.Window, title: "midword counts" };
  const html = await window.withProgress(where, () => midwordPage(server, ["stats"]));
  showPage("statistics", "midword: statistics", html);
}
