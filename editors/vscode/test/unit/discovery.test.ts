import assert from "node:assert/strict";
import { test } from "node:test";
import { findOnPath, findServer, type Places } from "../../src/discovery";

function places(executables: readonly string[], changes: Partial<Places> = {}): Places {
  return {
    setting: "",
    searchPath: "/usr/local/bin:/usr/bin",
    home: "/home/ada",
    platform: "linux",
    privateVenv: undefined,
    isExecutable: (file) => executables.includes(file),
    ...changes,
  };
}

test("the setting comes before PATH, PATH before the private environment", () => {
  const everywhere = ["/opt/midword", "/usr/bin/midword", "/store/server-1/bin/midword"];
  const privateVenv = "/store/server-1";
  const chosen = [
    findServer(places(everywhere, { setting: "/opt/midword", privateVenv })),
    findServer(places(everywhere, { privateVenv })),
    findServer(places(everywhere.slice(2), { privateVenv })),
  ];
  assert.deepEqual(chosen, [
    { kind: "found", command: "/opt/midword", source: "setting" },
    { kind: "found", command: "/usr/bin/midword", source: "path" },
    { kind: "found", command: "/store/server-1/bin/midword", source: "private" },
  ]);
});

test("a setting that cannot be used is reported, and nothing else is run instead", () => {
  for (const setting of ["bin/midword", "./midword", "/nowhere/midword"]) {
    const found = findServer(places(["/usr/bin/midword", "bin/midword", "./midword"], { setting }));
    assert.equal(found.kind, "missing");
    assert.ok(found.kind === "missing" && !found.installable && found.sentence.includes(setting));
  }
});

test("the home folder may be written as a tilde", () => {
  const found = findServer(places(["/home/ada/venv/bin/midword"], { setting: "~/venv/bin/midword" }));
  assert.deepEqual(found, { kind: "found", command: "/home/ada/venv/bin/midword", source: "setting" });
});

test("relative entries of PATH, which mean the opened folder, are not searched", () => {
  const executables = ["midword", "./midword", "bin/midword", "/usr/bin/midword"];
  const found = findOnPath("midword", places(executables, { searchPath: ":.:bin:/usr/bin" }));
  assert.equal(found, "/usr/bin/midword");
  assert.equal(findOnPath("midword", places(executables, { searchPath: ":.:bin" })), undefined);
});

test("Windows has other separators and names", () => {
  const found = findServer(
    places(["C:\\tools\\midword.exe"], { platform: "win32", searchPath: "C:\\Windows;C:\\tools" }),
  );
  assert.deepEqual(found, { kind: "found", command: "C:\\tools\\midword.exe", source: "path" });
});

test("what is not there can be installed", () => {
  const found = findServer(places([], { privateVenv: "/store/server-1" }));
  assert.ok(found.kind === "missing" && found.installable);
});
