/** A workspace that is not trusted cannot choose the model; a trusted one can. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { CodeServer } from "./codeServer";
import { eventually } from "./waiting";
import { Window } from "./window";

let server: CodeServer;
let window: Window;

before(async () => {
  server = await CodeServer.start({ trust: "asked" });
  mkdirSync(server.file(".vscode"));
  const settings = { "midword.model": server.file("other.gguf") };
  writeFileSync(server.file(".vscode/settings.json"), JSON.stringify(settings));
  const file = server.file("numbers.py");
  writeFileSync(file, "def count_numbers(numbers):\n    return len(");
  window = await Window.open(server.url(file, 2, 16));
});

after(async () => {
  await window?.picture("trust-last");
  await window?.close();
  await server?.stop("trust");
});

test("the user's model completes in a workspace that is not trusted", async () => {
  await eventually("the model is loaded", () => server.status?.busy === false);
  assert.equal(server.status?.model, "smollm2-135m");
  await window.type("num");
  assert.match(await window.waitForGhostText(), /^bers/);
});

test("once it is trusted, its own model counts", async () => {
  await window.run("Workspaces: Manage Workspace Trust");
  await window.trust();
  await eventually("the other model is tried", () => server.status?.kind === "Error");
  assert.match(String(server.status?.message), /other\.gguf/);
});
