/** Ghost text: shown, taken whole, by words and by lines, and alternatives. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertBuffer, IN_LINE, OVERDUE, open, window } from "./session";

test("in the middle of a line, behind an emoji, with CRLF", async () => {
  const file = await open("crlf.py", IN_LINE);
  await window.type("custo");
  const shown = await window.waitForGhostText();
  await window.take("Tab");
  await assertBuffer(file, `custo${shown}`, IN_LINE);
});

test("word by word", async () => {
  const file = await open("words.py");
  await window.type("custo");
  const shown = await window.waitForGhostText();
  await window.take("Control+ArrowRight");
  const rest = await window.waitForGhostText();
  assert.ok(rest.length < shown.length && shown.endsWith(rest), `${shown} → ${rest}`);
  assert.match(shown.slice(0, -rest.length), /^\w+$/);
  await window.take("Tab");
  await assertBuffer(file, `custo${shown}`);
});

test("a line", async () => {
  const file = await open("line.py");
  await window.type("custo");
  const shown = await window.waitForGhostText();
  await window.take("Control+Alt+ArrowRight");
  await assertBuffer(file, `custo${shown}`);
});

test("half an identifier is completed, and Tab takes what was shown", async () => {
  const file = await open("orders.py", OVERDUE);
  // The picture is of somebody who is at work in the file: its beginning has been read by the model.
  await window.type("c");
  await window.waitForGhostText();
  await window.press("Backspace");
  await window.type("is_ov");
  const shown = await window.waitForGhostText((text) => text.startsWith("erdue"));
  await window.picture("ghost-text");
  await window.take("Tab");
  await assertBuffer(file, `is_ov${shown}`, OVERDUE);
});

test("alternatives can be cycled, and the one that is shown is taken", async () => {
  const file = await open("alternatives.py");
  await window.type("c");
  const first = await window.waitForGhostText();
  await window.press("Alt+]");
  const second = await window.waitForGhostText((text) => text !== first);
  await window.picture("alternatives");
  await window.take("Tab");
  await assertBuffer(file, `c${second}`);
});
