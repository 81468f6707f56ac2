/** The editor with text in it that the user was in last: a walkthrough or a page may be in front of it now. */
import { type Disposable, type TextEditor, window } from "vscode";

export class LastEditor implements Disposable {
  private last = window.activeTextEditor;
  private readonly listener = window.onDidChangeActiveTextEditor((editor) => {
    this.last = editor ?? this.last;
  });

  /** Undefined if its document has been closed. */
  get editor(): TextEditor | undefined {
    return this.last?.document.isClosed ? undefined : this.last;
  }

  dispose(): void {
    this.listener.dispose();
  }
}
