/** What a person sees and does, in the real VS Code with the real server and the default model. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { after, before, test } from "node:test";
import { CodeServer } from "./codeServer";
import { eventually } from "./waiting";
import { Window } from "./window";

const ORDERS = readFileSync(path.resolve(__dirname, "../../../../demo/orders.py"), "utf8");
const LINE = "        totals[order.customer] += order.order_total()\n";
const [ABOVE = "", BELOW = ""] = ORDERS.split(LINE);
/** Where half an identifier is typed: at the end of a line, and in the middle of one. */
const AT_END = { prefix: `${ABOVE}        totals[order.`, suffix: `\n${BELOW}` };
const OVERDUE_LINE = "    return [order for order in orders if order.";
const OVERDUE_AT = ORDERS.indexOf(OVERDUE_LINE) + OVERDUE_LINE.length;
const OVERDUE = {
  prefix: ORDERS.slice(0, OVERDUE_AT),
  suffix: ORDERS.slice(ORDERS.indexOf("\n", OVERDUE_AT)),
};
const IN_LINE = {
  prefix: `# Äöü 😀\n${ABOVE}        label = "😀 ü" + order.`.replaceAll("\n", "\r\n"),
  suffix: ` + "."\n${BELOW}`.replaceAll("\n", "\r\n"),
};

let server: CodeServer;
let window: Window;

before(async () => {
  server = await CodeServer.start();
  setTraps();
  const file = server.file("start.py");
  writeFileSync(file, ORDERS);
  window = await Window.open(server.url(file, 1, 1));
  await eventually("the model is loaded", () => server.status?.busy === false);
});

after(async () => {
  await window?.picture("completion-last");
  await window?.close();
  await server?.stop("completion");
});

/** A file of its own, open with the cursor between `prefix` and `suffix`. */
async function open(name: string, { prefix, suffix } = AT_END): Promise<string> {
  const file = server.file(name);
  writeFileSync(file, prefix + suffix);
  const line = prefix.split("\n").length;
  // VS Code counts a character outside the basic plane as two columns, as UTF-16 does.
  await window.goTo(file, line, prefix.length - prefix.lastIndexOf("\n"));
  return file;
}

/** The file as it was saved is `prefix` + `inserted` + `suffix`, byte for byte. */
async function assertBuffer(file: string, inserted: string, { prefix, suffix } = AT_END): Promise<void> {
  const found = await window.save(file);
  if (!found.equals(Buffer.from(prefix + inserted + suffix))) {
    const rest = found.toString().slice(prefix.length).split("\n")[0];
    assert.fail(`the buffer should hold ${JSON.stringify(inserted)}, but holds ${JSON.stringify(rest)}…`);
  }
}

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
  await window.type("is_ov");
  const shown = await window.waitForGhostText();
  assert.match(shown, /^erdue/);
  await window.picture("ghost-text");
  await window.take("Tab");
  await assertBuffer(file, `is_ov${shown}`, OVERDUE);
});

test("alternatives can be cycled, and the one that is shown is taken", async () => {
  const file = await open("alternatives.py");
  await window.type("c");
  const first = await window.waitForGhostText();
  await window.press("Alt+]");
  const second = await window.waitForGhostText(first);
  await window.picture("alternatives");
  await window.take("Tab");
  await assertBuffer(file, `c${second}`);
});

const SWITCHES = [
  { title: "On or Off for This File", off: /^midword, off for this file/ },
  { title: "On or Off for This Language", off: /^midword, off for python/ },
  { title: "On or Off", off: /^midword, off,/ },
];

for (const [number, { title, off }] of SWITCHES.entries()) {
  test(`switch completions ${title}: off means that the engine is not asked`, async () => {
    const command = `midword: Switch Completions ${title}`;
    const file = await open(`off-${number}.py`);
    const before = server.engineCalls;
    await window.type("c");
    await window.waitForGhostText();
    await window.run(command);
    await window.waitForStatus(off);
    if (title === "On or Off") {
      await eventually("the engine has ended", () => server.engines().length === 0);
    }
    const calls = server.engineCalls;
    assert.ok(calls > before);
    // Not what was shown: that would be known without the engine.
    await window.type("reated_");
    await window.save(file);
    assert.equal(await window.ghostText(), "");
    assert.equal(server.engineCalls, calls);
    await window.run(command);
    await eventually("the switch is on", async () => !off.test(await window.status()));
    await window.type("a");
    await window.waitForGhostText();
    assert.ok(server.engineCalls > calls);
  });
}

test("an engine that is killed comes back, and the status says so", async () => {
  const [engine, ...others] = await eventually("an engine runs", () => {
    const engines = server.engines();
    return engines.length > 0 && engines;
  });
  assert.deepEqual(others, []);
  process.kill(engine as number, "SIGKILL");
  await eventually("the server tells the end", () =>
    server.messages.some(({ method, params }) => method === "didChangeStatus" && params?.kind === "Error"),
  );
  await window.waitForStatus(/restarted once/);
  await open("killed.py");
  await window.type("custo");
  assert.match(await window.waitForGhostText(), /^m/);
  assert.notEqual(server.engines()[0], engine);
});

test("a server that is killed is started again", async () => {
  const [old] = server.running("lsp", "--stdio");
  process.kill(old as number, "SIGKILL");
  await window.waitForStatus(/^midword, starting/);
  await window.waitForStatus(/Model: smollm2-135m/);
  assert.ok(!server.running("lsp", "--stdio").includes(old as number));
  await open("server-killed.py");
  await window.type("custo");
  assert.match(await window.waitForGhostText(), /^m/);
});

test("nothing that the workspace brings along was run", () => {
  assert.ok(!existsSync(server.file("trap-was-run")));
});

/** A settings file, a package and programs that would leave a mark if they were run. */
function setTraps(): void {
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
