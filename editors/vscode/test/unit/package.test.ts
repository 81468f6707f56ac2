import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as path from "node:path";
import { test } from "node:test";

const FOLDER = path.resolve(__dirname, "../..");
const text = readFileSync(path.join(FOLDER, "package.json"), "utf8");
const { contributes } = JSON.parse(text);
const declared = contributes.commands.map(({ command }: { command: string }) => command);

test("every command that a step or a setting links to is declared", () => {
  const linked = [...text.matchAll(/\(command:(midword\.\w+)\)/g)].map(([, command]) => command);
  assert.ok(linked.length >= 5);
  assert.deepEqual(
    linked.filter((command) => !declared.includes(command)),
    [],
  );
});

test("a step that is done by a command names one that is declared, or that the server runs", () => {
  const steps = contributes.walkthroughs[0].steps as { completionEvents: string[] }[];
  const commands = steps.flatMap(({ completionEvents }) =>
    completionEvents.flatMap((event) => /^onCommand:(.*)/.exec(event)?.[1] ?? []),
  );
  assert.deepEqual(
    commands.filter((command) => !declared.includes(command)),
    ["midword.accepted"],
  );
});
