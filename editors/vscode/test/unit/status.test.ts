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
  const state = after(RUNNING, status({ latencyMs: 83.6 }), status({ busy: true, model: "small" }));
  const seen = view(state, PYTHON);
  assert.equal(seen.icon, "loading~spin");
  assert.equal(seen.text, "84 ms");
  assert.deepEqual(seen.sentences, ["Thinking.", "Model: small.", "Last answer after 84 ms."]);
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

test("a reason counts for the document it is about, and for no other", () => {
  const state = after(RUNNING, status({ reason: "secret-file", uri: "file:///.env" }));
  assert.equal(view(state, PYTHON).icon, "check");
  const seen = view(state, { ...PYTHON, uri: "file:///.env" });
  assert.equal(seen.text, "off for this file");
  assert.match(seen.sentences[0] ?? "", /secrets/);
});

test("a reason that a newer server has is told in the server's own words", () => {
  const state = after(
    RUNNING,
    status({ reason: "full-moon", uri: PYTHON.uri, message: "The moon is full." }),
  );
  assert.equal(view(state, PYTHON).sentences[0], "The moon is full.");
});

test("an engine that died is an error until it answers; then its restarts are told", () => {
  const broken = after(RUNNING, status({ kind: "Error", message: "the engine was killed by signal 9" }));
  assert.equal(view(broken, PYTHON).severity, "error");
  const again = reduce(broken, status({ restarts: 1 }));
  assert.equal(view(again, PYTHON).severity, "normal");
  assert.ok(view(again, PYTHON).sentences.includes("The engine was restarted once."));
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
