import assert from "node:assert/strict";
import { test } from "node:test";
import { languageSwitches, type Reader, serverOptions, switchedOff } from "../../src/options";

function reader(values: Record<string, unknown>, perLanguage: Record<string, boolean> = {}): Reader {
  return {
    get: (name, language) =>
      name === "enabled" && language !== undefined && language in perLanguage
        ? perLanguage[language]
        : values[name],
    defaultOf: (name) => ({ maxTokens: 32, exclude: [] as string[] })[name],
    overriding: (name) => (name === "enabled" ? Object.keys(perLanguage) : []),
  };
}

test("a language that is off is a switch of the server", () => {
  const options = serverOptions(reader({ enabled: true, maxTokens: 8 }, { markdown: false }));
  assert.deepEqual(options.languages, { markdown: false, "*": true });
  assert.equal(options.enabled, true);
  assert.equal(options.maxTokens, 8);
  assert.equal(options.reportStatus, true);
});

test("a default is not sent, anything else is", () => {
  const sent = serverOptions(reader({ enabled: true, maxTokens: 32, exclude: [] }));
  assert.ok(!("maxTokens" in sent) && !("exclude" in sent));
  const changed = serverOptions(reader({ enabled: true, maxTokens: 64, exclude: ["**/x"] }));
  assert.deepEqual([changed.maxTokens, changed.exclude], [64, ["**/x"]]);
});

test("one language that is on keeps the engine, none ends it", () => {
  assert.equal(serverOptions(reader({ enabled: false }, { python: true })).enabled, true);
  assert.equal(serverOptions(reader({ enabled: false }, { python: false })).enabled, false);
  assert.equal(serverOptions(reader({ enabled: false })).enabled, false);
});

test("the widest switch that is off is told", () => {
  const onlyPython = languageSwitches(reader({ enabled: false }, { python: true }));
  const notMarkdown = languageSwitches(reader({ enabled: true }, { markdown: false }));
  const found = [
    switchedOff(onlyPython, "python", false),
    switchedOff(onlyPython, "python", true),
    switchedOff(onlyPython, "rust", true),
    switchedOff(notMarkdown, "markdown", true),
    switchedOff(notMarkdown, "python", false),
    switchedOff({ "*": false }, "python", false),
  ];
  assert.deepEqual(found, [undefined, "file", "everywhere", "language", undefined, "everywhere"]);
});
