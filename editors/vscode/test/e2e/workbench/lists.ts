/** What a click and the palette list: models, and the menu of the status bar. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { window } from "./session";

test("models are listed with size, licence and fit, the one in use is marked", async () => {
  await window.run("midword: Choose Model…");
  const rows = await window.rows("midword: choose a model");
  const used = rows.find((row) => row.startsWith("smollm2-135m-fim")) ?? "";
  assert.match(used, /174 MB · Apache-2\.0.*on this machine · fits: about/);
  assert.ok(rows.some((row) => row.includes("to be downloaded")));
  await window.picture("models");
  await window.press("Escape");
});

test("a click on the status bar shows the switches and what else can be done", async () => {
  await window.clickStatus();
  const rows = await window.rows("midword");
  assert.deepEqual(rows.slice(0, 3), [
    "Completions: switch off",
    "python: switch off",
    "This file: switch off",
  ]);
  await window.picture("menu");
  await window.press("Escape");
});
