/** The files that are switched off one by one: kept by the editor for this workspace, not in a file of it. */
import type { Memento, Uri } from "vscode";

const KEY = "midword.filesOff";

export class FileSwitches {
  constructor(private readonly store: Memento) {}

  isOff(uri: Uri): boolean {
    return this.all().includes(uri.toString());
  }

  async toggle(uri: Uri): Promise<void> {
    const name = uri.toString();
    const others = this.all().filter((other) => other !== name);
    await this.store.update(KEY, this.isOff(uri) ? others : [...others, name]);
  }

  private all(): readonly string[] {
    return this.store.get<string[]>(KEY, []);
  }
}
