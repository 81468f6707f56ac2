/** Off means that the engine is not asked. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../waiting";
import { open, server, window } from "./session";

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
