/** The one window that most tests share, and the real files that are typed into. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { after, before } from "node:test";
import { CodeServer } from "../codeServer";
import { eventually } from "../waiting";
import { Window } from "../window";
import { setTraps } from "./traps";

const ORDERS = readFileSync(path.resolve(__dirname, "../../../../demo/orders.py"), "utf8");
const LINE = "        totals[order.customer] += order.order_total()\n";
const [ABOVE = "", BELOW = ""] = ORDERS.split(LINE);
const OVERDUE_LINE = "    return [order for order in orders if order.";
const OVERDUE_AT = ORDERS.indexOf(OVERDUE_LINE) + OVERDUE_LINE.length;

/** Where half an identifier is typed: at the end of a line, and in the middle of one. */
export const AT_END = { prefix: `${ABOVE}        totals[order.`, suffix: `\n${BELOW}` };
export const OVERDUE = {
  prefix: ORDERS.slice(0, OVERDUE_AT),
  suffix: ORDERS.slice(ORDERS.indexOf("\n", OVERDUE_AT)),
};
export const IN_LINE = {
  prefix: `# Äöü 😀\n${ABOVE}        label = "😀 ü" + order.`.replaceAll("\n", "\r\n"),
  suffix: ` + "."\n${BELOW}`.replaceAll("\n", "\r\n"),
};

export let server: CodeServer;
export let window: Window;

before(async () => {
  server = await CodeServer.start();
  setTraps(server);
  const file = server.file("start.py");
  writeFileSync(file, ORDERS);
  window = await Window.open(server.url(file, 1, 1));
  await eventually("the model is loaded", () => server.status?.busy === false);
});

after(async () => {
  await window?.picture("workbench-last");
  await window?.close();
  await server?.stop("workbench");
});

/** A file of its own, open with the cursor between `prefix` and `suffix`. */
export async function open(name: string, { prefix, suffix } = AT_END): Promise<string> {
  const file = server.file(name);
  writeFileSync(file, prefix + suffix);
  const line = prefix.split("\n").length;
  // VS Code counts a character outside the basic plane as two columns, as UTF-16 does.
  await window.goTo(file, line, prefix.length - prefix.lastIndexOf("\n"));
  return file;
}

/** The file as it was saved is `prefix` + `inserted` + `suffix`, byte for byte. */
export async function assertBuffer(
  file: string,
  inserted: string,
  { prefix, suffix } = AT_END,
): Promise<void> {
  const found = await window.save(file);
  if (!found.equals(Buffer.from(prefix + inserted + suffix))) {
    const rest = found.toString().slice(prefix.length).split("\n")[0];
    assert.fail(`the buffer should hold ${JSON.stringify(inserted)}, but holds ${JSON.stringify(rest)}…`);
  }
}

/** Runs the command that starts the server again, and waits until the new one has its model. */
export async function restartServer(): Promise<void> {
  const before = server.running("lsp", "--stdio");
  const told = server.messages.length;
  await window.run("midword: Restart the Server");
  await eventually("the old server has ended", () => {
    const now = server.running("lsp", "--stdio");
    return now.length > 0 && !now.some((pid) => before.includes(pid));
  });
  await eventually("the new server has its model", () =>
    server.messages
      .slice(told)
      .some(({ method, params }) => method === "didChangeStatus" && params?.model && !params.busy),
  );
}
