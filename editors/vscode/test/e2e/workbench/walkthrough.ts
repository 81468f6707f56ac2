/** The walkthrough opens, and what its steps offer is there. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as path from "node:path";
import { test } from "node:test";
import { open, window } from "./session";

const PACKAGE = JSON.parse(readFileSync(path.resolve(__dirname, "../../package.json"), "utf8"));

test("the walkthrough opens, and the buttons of its steps work", async () => {
  await open("walked.py");
  await window.type("custo");
  await window.waitForGhostText();
  await window.run("Welcome: Open Walkthrough...");
  await window.choose("Start with midword");
  const steps = PACKAGE.contributes.walkthroughs[0].steps.map(({ title }: { title: string }) => title);
  assert.deepEqual(await window.steps(), steps);
  await window.picture("walkthrough");

  await window.pressInStep("Choose a model", "Choose a model");
  assert.match((await window.rows("midword: choose a model")).join(), /smollm2-135m/);
  await window.press("Escape");

  await window.pressInStep("See why", "Explain the completion at the cursor");
  assert.match(await window.webview(), /Why “m/);
  await window.closePages();

  await window.pressInStep("Switch it off where you want", "Show status and actions");
  assert.match((await window.rows("midword")).join(), /Show statistics/);
  await window.press("Escape");
});
