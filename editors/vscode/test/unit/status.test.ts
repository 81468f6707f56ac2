import assert from "node:assert/strict";
import { test } from "node:test";
import { actionsFor } from "../../src/actions";
import {
  type ActiveDocument,
  type Event,
  INITIAL,
  reduce,
  type ServerStatus,
  type State,
  view,
} from "../../src/status";

const PYTHON: ActiveDocument = { uri: "file:///a.py", languageName: "python", off: undefined };
const RUNNING: Event = { type: "phase", phase: "running" };

function status(changes: Partial<ServerStatus>): Event {
  return { type: "status", status: { kind: "Normal", busy: false, message: "", ...changes } };
}

function after(...events: Event[]): State {
  return events.reduce(reduce, INITIAL);
}

test("thinking shows the last latency, also when the message has none", () => {
  const state = after(
    RUNNING,
    status({ latencyMs: 83.6 }),
    status({ busy: true, model: "small", message: "completing" }),
  );
  const seen = view(state, PYTHON);
  assert.equal(seen.icon, "loading~spin");
  assert.equal(seen.text, "84 ms");
  assert.deepEqual(seen.sentences, ["Completing.", "Model: small.", "Last answer after 84 ms."]);
  assert.equal(view(reduce(state, status({})), PYTHON).icon, "check");
});

test("a download says how far it is", () => {
  const seen = view(after(RUNNING, status({ progress: 41.9, message: "downloading small" })), PYTHON);
  assert.deepEqual([seen.icon, seen.text], ["cloud-download", "model 41 %"]);
});

test("a switch that is off says which, before anything the server says", () => {
  const state = after(RUNNING, status({ latencyMs: 5 }));
  const texts = (["everywhere", "language", "file"] as const).map(
    (off) => view(state, { ...PYTHON, off }).text,
  );
  assert.deepEqual(texts, ["off", "off for python", "off for this file"]);
});

test("what is off for one document is not told about another", () => {
  const off = { kind: "Inactive", reason: "secret-file", uri: "file:///.env" } as const;
  const state = after(RUNNING, status({ ...off, message: "the file looks like one that holds secrets" }));
  assert.equal(view(state, PYTHON).icon, "check");
  const seen = view(state, { ...PYTHON, uri: "file:///.env" });
  assert.equal(seen.text, "off for this file");
  assert.equal(seen.sentences[0], "The file looks like one that holds secrets.");
});

test("a request that got nothing does not look like a switch", () => {
  const silent = { reason: "nothing-to-add", uri: PYTHON.uri, message: "the model has nothing to add here" };
  const seen = view(after(RUNNING, status({ ...silent, latencyMs: 50 })), PYTHON);
  assert.deepEqual([seen.icon, seen.text], ["check", "50 ms"]);
  assert.equal(seen.sentences[0], "The model has nothing to add here.");
});

test("an engine that died is an error until it answers; then its restarts are told", () => {
  const died = { kind: "Error", busy: true, message: "the engine was killed by signal 9" } as const;
  const broken = after(RUNNING, status(died));
  assert.deepEqual([view(broken, PYTHON).severity, view(broken, PYTHON).text], ["error", "restarting"]);
  assert.equal(view(after(RUNNING, status({ ...died, busy: false })), PYTHON).icon, "error");
  const again = view(reduce(broken, status({ restarts: 1, message: "ready" })), PYTHON);
  assert.equal(again.severity, "normal");
  assert.deepEqual(again.sentences, ["Ready.", "The engine was restarted once."]);
});

test("what an old server said is forgotten when a new one starts", () => {
  const state = after(RUNNING, status({ kind: "Error", message: "bad" }), {
    type: "phase",
    phase: "starting",
  });
  assert.equal(view(state, PYTHON).text, "starting");
  assert.equal(view(reduce(state, RUNNING), PYTHON).severity, "normal");
});

test("a click on an error offers the cure first", () => {
  const missing = after({ type: "phase", phase: "missing", detail: "The midword server is not installed." });
  assert.equal(view(missing, PYTHON).severity, "error");
  assert.equal(actionsFor(missing, PYTHON)[0]?.command, "midword.installServer");
  const failed = after({ type: "phase", phase: "failed", detail: "It ended." });
  assert.deepEqual(
    actionsFor(failed, PYTHON)
      .map((action) => action.command)
      .slice(0, 2),
    ["midword.restartServer", "midword.showLog"],
  );
});

test("the menu names the switch that is off, and hides those that it overrides", () => {
  const labels = (off: ActiveDocument["off"]) =>
    actionsFor(after(RUNNING), { ...PYTHON, off }).map((action) => action.label);
  assert.ok(labels("language").includes("$(circle-slash) python: switch on"));
  assert.ok(labels(undefined).includes("$(check) This file: switch off"));
  assert.ok(!labels("everywhere").some((label) => label.includes("This file")));
});
