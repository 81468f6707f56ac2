/** Pages beside the text: explanation and statistics. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { IN_LINE, open, restartServer, server, window } from "./session";

test("a completion is explained on a page, in a file that is not saved", async () => {
  await open("explained.py");
  await window.type("custo");
  await window.run("midword: Explain This Completion");
  const page = await window.webview();
  assert.match(page, /Why “m/);
  assert.match(page, /All ways to cut the tail into tokens/);
  assert.deepEqual(server.commandLines("explain"), []);
  await window.picture("explain");
  await window.closePages();
});

test("the statistics are the page of `midword stats --html`, and tell what happened in this window", async () => {
  server.isOlder = true; // for the next test
  await restartServer(); // a server that ends writes what it has counted
  const { all, language } = JSON.parse(server.midword("stats", "--json"));
  assert.deepEqual(Object.keys(language), ["python"]);
  assert.ok(all.shown > all.accepted && all.accepted >= 5, JSON.stringify(all));
  const file = server.file("statistics.html");
  server.midword("stats", "--html", file);
  await window.run("midword: Show Statistics");
  const page = await window.webview();
  assert.equal(page, await window.textOf(readFileSync(file, "utf8")));
  assert.match(page, /python/);
  await window.picture("statistics");
  await window.closePages();
});

test("a server that cannot explain: the command line does, once the file is saved", async () => {
  const file = await open("older.py", IN_LINE);
  await window.type("custo");
  await window.run("midword: Explain This Completion");
  assert.match(await window.notification(/explains saved files only/), /save the file first/);
  await window.clearNotifications();
  assert.equal((await window.save(file)).toString(), `${IN_LINE.prefix}custo${IN_LINE.suffix}`);
  await window.run("midword: Explain This Completion");
  const page = await window.webview();
  const lines = `${IN_LINE.prefix}custo`.split("\n");
  const cursor = { line: lines.length, column: [...(lines.at(-1) ?? "")].length + 1 };
  assert.ok(page.includes(`older.py, line ${cursor.line}, column ${cursor.column}`), page.slice(0, 400));
  assert.match(page, /Why “m/);
  const [asked] = server.commandLines("explain");
  assert.ok(asked?.startsWith(`explain ${file} --line ${cursor.line} --column ${cursor.column} `), asked);
  await window.closePages();
});
