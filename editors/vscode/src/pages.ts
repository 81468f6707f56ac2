/** Self-contained HTML pages of midword beside the editor. They run no script and load nothing. */
import { ViewColumn, type WebviewPanel, window } from "vscode";

const open = new Map<string, WebviewPanel>();

export function showPage(kind: "explain" | "statistics", title: string, html: string): void {
  const panel = open.get(kind) ?? newPanel(kind, title);
  panel.title = title;
  panel.webview.html = html;
  panel.reveal(ViewColumn.Beside, true);
}

function newPanel(kind: string, title: string): WebviewPanel {
  const where = { viewColumn: ViewColumn.Beside, preserveFocus: true };
  const panel = window.createWebviewPanel(`midword.${kind}`, title, where, { localResourceRoots: [] });
  open.set(kind, panel);
  panel.onDidDispose(() => open.delete(kind));
  return panel;
}
