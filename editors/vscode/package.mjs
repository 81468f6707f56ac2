// Makes dist/midword.vsix: the bundle, the server as a wheel, and what VS Code wants beside them.
// Needs no network: setuptools comes with the repository's .venv (or the Python in MIDWORD_PYTHON).
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

const here = import.meta.dirname;
const root = resolve(here, "../..");
const python = process.env.MIDWORD_PYTHON ?? join(root, ".venv/bin/python");
const run = (command, argv, cwd) =>
  execFileSync(command, argv, { cwd, stdio: ["ignore", "pipe", "inherit"] });

/** The wheel is built from a copy: setuptools leaves its files behind, and old ones of them get into the wheel. */
function buildWheel(into) {
  const copy = mkdtempSync(join(tmpdir(), "midword-wheel-"));
  try {
    const kept = [
      "ls-files",
      "-z",
      "-co",
      "--exclude-standard",
      "--",
      ".",
      ":!tests",
      ":!docs",
      ":!bench",
      ":!editors",
    ];
    for (const file of run("git", kept, root).toString().split("\0").filter(Boolean)) {
      mkdirSync(join(copy, dirname(file)), { recursive: true });
      cpSync(join(root, file), join(copy, file), { dereference: false });
    }
    const flags = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"];
    run(python, ["-I", "-m", "pip", "wheel", ...flags, "--wheel-dir", into, copy], copy);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

rmSync(join(here, "server"), { recursive: true, force: true });
buildWheel(join(here, "server"));
run(process.execPath, ["build.mjs"], here);
cpSync(join(root, "LICENSE"), join(here, "LICENSE"));
const flags = ["--no-dependencies", "--allow-missing-repository", "--no-rewrite-relative-links"];
const vsce = join(here, "node_modules/@vscode/vsce/vsce");
run(process.execPath, [vsce, "package", ...flags, "--out", join(here, "dist/midword.vsix")], here);
console.log(join(here, "dist/midword.vsix"));
