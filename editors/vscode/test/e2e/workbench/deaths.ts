/** Processes that are killed come back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../waiting";
import { open, server, window } from "./session";

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
