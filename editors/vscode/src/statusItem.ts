/** The status bar item: draws the view, decides nothing. */
import {
  type Disposable,
  languages,
  MarkdownString,
  StatusBarAlignment,
  type StatusBarItem,
  ThemeColor,
  window,
  workspace,
} from "vscode";
import type { FileSwitches } from "./fileSwitches";
import type { Server } from "./server";
import { offSwitch } from "./settings";
import { type ActiveDocument, view } from "./status";

export class StatusItem implements Disposable {
  private readonly item: StatusBarItem = window.createStatusBarItem("midword", StatusBarAlignment.Right, 100);
  private readonly listeners: Disposable[];

  constructor(
    private readonly server: Server,
    private readonly files: FileSwitches,
  ) {
    this.item.name = "midword";
    this.item.command = "midword.menu";
    this.listeners = [
      server.onDidChange(() => this.draw()),
      window.onDidChangeActiveTextEditor(() => this.draw()),
      workspace.onDidChangeConfiguration(() => this.draw()),
    ];
    this.draw();
    this.item.show();
  }

  draw(): void {
    const { icon, text, sentences, severity } = view(this.server.state, activeDocument(this.files));
    this.item.text = `$(${icon}) midword${text && ` ${text}`}`;
    const tooltip = new MarkdownString();
    tooltip.appendText(sentences.join("\n"));
    this.item.tooltip = tooltip;
    this.item.accessibilityInformation = { label: ["midword", text, ...sentences].join(", ") };
    this.item.backgroundColor =
      severity === "normal" ? undefined : new ThemeColor(`statusBarItem.${severity}Background`);
  }

  dispose(): void {
    this.item.dispose();
    for (const listener of this.listeners) {
      listener.dispose();
    }
  }
}

export function activeDocument(files: FileSwitches): ActiveDocument | undefined {
  const document = window.activeTextEditor?.document;
  if (
    document === undefined ||
    languages.match([{ scheme: "file" }, { scheme: "untitled" }], document) === 0
  ) {
    return undefined;
  }
  return {
    uri: document.uri.toString(),
    languageName: document.languageId,
    off: offSwitch(document, files.isOff(document.uri)),
  };
}
