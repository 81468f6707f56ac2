/** A machine without the server and a workspace that nobody trusts yet: the server is installed from the extension's
 * own sources, the user's model completes; once the workspace is trusted, it may choose another. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { after, before, test } from "node:test";
import { CodeServer, VENV } from "./codeServer";
import { Window } from "./window";

const folder = mkdtempSync(path.join(tmpdir(), "midword-python-"));
const BEFORE =
  "class Storage:\n    def compute_total(self):\n        return 1\n\n    def report(self):\n        return self.";

let server: CodeServer;
let window: Window;

before(async () => {
  server = await CodeServer.start({
    trust: "asked",
    machine: { "midword.pythonPath": pythonWithDependencies() },
    environment: {
      PATH: "/usr/bin:/bin",
      PYTHONPATH: undefined,
      // What the build needs is there already, see below. The kernels are compiled in other tests; they are optional.
      PIP_NO_BUILD_ISOLATION: "false",
      CC: "false",
      CXX: "false",
    },
  });
  mkdirSync(server.file(".vscode"));
  const settings = { "midword.model": server.file("other.gguf") };
  writeFileSync(server.file(".vscode/settings.json"), JSON.stringify(settings));
  const file = server.file("storage.py");
  writeFileSync(file, BEFORE);
  window = await Window.open(server.url(file, 6, 21));
});

after(async () => {
  await window?.picture("installation-last");
  await window?.close();
  await server?.stop("installation");
  rmSync(folder, { recursive: true, force: true });
});

test("the status says that there is no server, and installing it is offered", async () => {
  assert.match(await window.waitForStatus(/no server/), /not installed/);
  await window.picture("install");
  await window.answer("Install");
  await window.waitForStatus(/installing/);
  await window.waitForStatus(/Model: smollm2-135m/);
});

test("the installed server completes, with the user's model", async () => {
  await window.type("compute_");
  assert.match(await window.waitForGhostText(), /^total/);
});

test("once the workspace is trusted, its own model counts", async () => {
  await window.run("Workspaces: Manage Workspace Trust");
  await window.trust();
  await window.waitForStatus(/error.*other\.gguf/);
});

/**
 * A Python whose new environments have what the server needs already, but not the server: compiling
 * llama.cpp again would take minutes.
 */
function pythonWithDependencies(): string {
  const real = path.join(VENV, "bin/python");
  const where = 'import sysconfig; print(sysconfig.get_path("purelib"))';
  const packages = execFileSync(real, ["-I", "-c", where]).toString().trim();
  const file = path.join(folder, "python3");
  // An old setuptools comes with new environments and would hide the one that is there already.
  const script = `"${real}" "$@" || exit
case "$*" in *"-m venv"*)
  for last; do :; done
  "$last/bin/python" -m pip uninstall -q -y setuptools
  echo "${packages}" > "$(echo "$last"/lib/python3*/site-packages)/dependencies.pth";;
esac`;
  writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return file;
}
