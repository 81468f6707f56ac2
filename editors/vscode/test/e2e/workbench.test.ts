/** What a person sees and does, in the real VS Code with the real server and the default model: one window for all. */
import assert from "node:assert/strict";
import { test } from "node:test";
import "./workbench/lists";
import "./workbench/completion";
import "./workbench/switches";
import "./workbench/pages";
import "./workbench/download";
import "./workbench/walkthrough";
import "./workbench/deaths";
import { server } from "./workbench/session";
import { wereSprung } from "./workbench/traps";

test("nothing that the workspace brings along was run", () => {
  assert.ok(!wereSprung(server));
});
