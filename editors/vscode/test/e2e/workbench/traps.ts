/** What a workspace must not make the extension run. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import type { CodeServer } from "../codeServer";

export function wereSprung(server: CodeServer): boolean {
  return existsSync(server.file("trap-was-run"));
}

/** A settings file, a package and programs that would leave a mark if they were run. */
export function setTraps(server: CodeServer): void {
  const mark = server.file("trap-was-run");
  const trap = `#!/bin/sh\ntouch "${mark}"\n`;
  for (const name of ["midword", "python3", "python"]) {
    writeFileSync(server.file(name), trap, { mode: 0o755 });
  }
  mkdirSync(server.file("engine"));
  writeFileSync(server.file("engine/__init__.py"), `open(${JSON.stringify(mark)}, "w")\n`);
  mkdirSync(server.file(".vscode"));
  const settings = {
    "midword.serverPath": server.file("midword"),
    "midword.pythonPath": server.file("python3"),
  };
  writeFileSync(server.file(".vscode/settings.json"), JSON.stringify(settings));
}
