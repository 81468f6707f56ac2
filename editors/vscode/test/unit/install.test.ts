import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { test } from "node:test";
import { bundledArchive, findPython, install, ownVenv, removeOthers, venvFolder } from "../../src/install";
import { ProgramError, run } from "../../src/processes";

function storage(): { folder: string; archive: string } {
  const folder = mkdtempSync(path.join(tmpdir(), "midword-test-"));
  mkdirSync(path.join(folder, "server"));
  const archive = path.join(folder, "server", "midword-0.0.0.tar.gz");
  writeFileSync(archive, "first");
  return { folder, archive };
}

/** A Python whose venv and pip do what the test wants to see. */
function fakePython(folder: string, pip: string): string {
  const file = path.join(folder, "python3");
  const body = `case "$*" in
*"-m venv"*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python";;
*"-m pip"*) ${pip};;
esac`;
  writeFileSync(file, `#!/bin/sh\n${body}\n`);
  chmodSync(file, 0o755);
  return file;
}

test("an environment is current for the archive it was made from, and outdated for the next one", async () => {
  const { folder, archive } = storage();
  assert.equal(bundledArchive(folder), archive);
  assert.deepEqual(ownVenv(folder, archive), { folder: undefined, outdated: false });
  const steps: string[] = [];
  const python = fakePython(folder, 'echo "Collecting numpy"; echo "[3/9] Building CXX"');
  const made = await install(
    folder,
    archive,
    python,
    (step) => steps.push(step),
    new AbortController().signal,
  );
  assert.deepEqual(ownVenv(folder, archive), { folder: made, outdated: false });
  assert.ok(steps.includes("compiling llama.cpp, 3 of 9 files"));
  writeFileSync(archive, "second");
  assert.deepEqual(ownVenv(folder, archive), { folder: made, outdated: true });
});

test("an update that fails leaves the environment that works, and nothing of its own", async () => {
  const { folder, archive } = storage();
  const signal = new AbortController().signal;
  const old = await install(folder, archive, fakePython(folder, "true"), () => {}, signal);
  writeFileSync(archive, "second");
  const failing = fakePython(folder, 'echo "error: no compiler" >&2; exit 1');
  await assert.rejects(
    install(folder, archive, failing, () => {}, signal),
    (error) => error instanceof ProgramError && error.message === "error: no compiler",
  );
  assert.deepEqual(ownVenv(folder, archive), { folder: old, outdated: true });
  assert.ok(!existsSync(venvFolder(folder, archive)));
});

test("an unfinished environment does not count; others are removed after an update", async () => {
  const { folder, archive } = storage();
  mkdirSync(path.join(folder, "server-0000"));
  assert.equal(ownVenv(folder, archive).folder, undefined);
  const made = await install(
    folder,
    archive,
    fakePython(folder, "true"),
    () => {},
    new AbortController().signal,
  );
  removeOthers(folder, made);
  assert.ok(existsSync(made) && !existsSync(path.join(folder, "server-0000")));
});

test("cancelling ends the program and what it started", { timeout: 20_000 }, async () => {
  const stop = new AbortController();
  // The sleep holds the pipe open: as long as it lives, the run is not over.
  const running = run("/bin/sh", ["-c", "sleep 600 & echo started; wait"], {
    signal: stop.signal,
    onLine: () => stop.abort(),
  });
  await assert.rejects(running, /cancelled/);
});

test("a Python that cannot be used is named", async () => {
  const places = { searchPath: "", platform: process.platform, isExecutable: existsSync };
  await assert.rejects(findPython("/bin/false", places), /\/bin\/false/);
  await assert.rejects(findPython("", places), /Python 3.11 or newer/);
});
