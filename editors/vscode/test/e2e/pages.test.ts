/** What is behind the status bar and the palette: menu, models, explanation, statistics. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { after, before, test } from "node:test";
import { CodeServer } from "./codeServer";
import { eventually } from "./waiting";
import { Window } from "./window";

const ORDERS = readFileSync(path.resolve(__dirname, "../../../../demo/orders.py"), "utf8");
/** Half a name at the end of a line. */
const HALF = ORDERS.replace(/(totals\[order\.custo)mer\].*/, "$1");
const LINE = HALF.split("\n").findIndex((line) => line.includes("totals[order.custo"));

let server: CodeServer;
let window: Window;

before(async () => {
  server = await CodeServer.start();
  const file = server.file("orders.py");
  writeFileSync(file, HALF);
  window = await Window.open(server.url(file, LINE + 1, "        totals[order.custo".length + 1));
  await eventually("the model is loaded", () => server.status?.busy === false);
});

after(async () => {
  await window?.picture("pages-last");
  await window?.close();
  await server?.stop("pages");
});

test("models are listed with size, licence and fit, the one in use is marked", async () => {
  await window.run("midword: Choose Model…");
  const rows = await window.rows("midword: choose a model");
  assert.match(rows[0] ?? "", /^smollm2-135m.*98 MB · Apache-2\.0.*on this machine · fits: about/);
  assert.ok(rows.some((row) => row.includes("to be downloaded")));
  await window.picture("models");
  await window.press("Escape");
});

test("a completion is explained on a page", async () => {
  await window.run("midword: Explain This Completion");
  const page = await window.webview();
  assert.match(page, /Why “m/);
  assert.match(page, /All ways to cut the tail into tokens/);
  await window.picture("explain");
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
