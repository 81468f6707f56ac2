import assert from "node:assert/strict";
import { test } from "node:test";
import { commandLineCursor } from "../../src/cursor";
import { fitOf, modelRows, parseModels } from "../../src/models";
import { pipStep, pullPercent } from "../../src/progress";

const LIST = JSON.stringify([
  { name: "huge", size_bytes: 20e9, licence: "MIT", fim: "qwen", context: 4096, pulled: [], pinned: false },
  { name: "middle", size_bytes: 5e9, licence: "MIT", fim: "qwen", context: 4096, pulled: [], pinned: false },
  {
    name: "here",
    size_bytes: 1e8,
    licence: "Apache-2.0",
    fim: "none",
    context: 8192,
    pulled: ["q8_0"],
    pinned: true,
  },
]);

test("size, licence and fit are told; what is here and what fits comes first", () => {
  const rows = modelRows(parseModels(LIST), 16e9, "here");
  assert.deepEqual(
    rows.map((row) => row.label),
    ["$(check) here", "middle", "huge"],
  );
  assert.equal(rows[0]?.description, "100 MB · Apache-2.0");
  assert.equal(
    rows[1]?.detail,
    "to be downloaded · fits: about 5.5 GB of 16.0 GB memory · uses the text behind the cursor",
  );
  assert.match(rows[2]?.detail ?? "", /too large: about 20.5 GB, this machine has 16.0 GB/);
});

test("the borders of the fit", () => {
  assert.equal(fitOf(3.5e9, 8e9), "fits");
  assert.equal(fitOf(3.6e9, 8e9), "tight");
  assert.equal(fitOf(6.0e9, 8e9), "too large");
});

test("what is no list of models is said so", () => {
  assert.throws(() => parseModels("{}"), /did not print a list/);
  assert.throws(() => parseModels('[{"name": "a"}]'), /without a name or a size/);
});

test("lines of pip and of a pull say how far they are", () => {
  assert.equal(pipStep("  [12/193] Building CXX object"), "compiling llama.cpp, 12 of 193 files");
  assert.equal(pipStep("  Downloading https://host/a/pygls-2.whl (60 kB)"), "downloading pygls-2.whl");
  assert.equal(pipStep("  some other line"), undefined);
  assert.equal(pullPercent("downloading small: 1,050 of 2,100 MB"), 50);
  assert.equal(pullPercent("checking"), undefined);
});

test("columns of the command line are characters, not UTF-16 units", () => {
  assert.deepEqual(commandLineCursor("a😀b", 4, 3), ["--line", "5", "--column", "3"]);
});
