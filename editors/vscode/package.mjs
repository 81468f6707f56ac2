// Makes dist/midword.vsix: the bundle, the server's sources, and what VS Code wants beside them.
// Needs no network: setuptools and nanobind come with the repository's .venv (or the Python in MIDWORD_PYTHON).
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

const here = import.meta.dirname;
const root = resolve(here, "../..");
const python = process.env.MIDWORD_PYTHON ?? join(root, ".venv/bin/python");
const run = (command, argv, cwd) =>
  execFileSync(command, argv, { cwd, stdio: ["ignore", "pipe", "inherit"] });

/**
 * A source archive fits every Python and processor. It is made from a copy: setuptools leaves its files behind.
 */
function archiveSources(into) {
  const copy = mkdtempSync(join(tmpdir(), "midword-sources-"));
  try {
    const unneeded = ["bench", "docs", "editors", "examples", "tests", "training"].map((name) => `:!${name}`);
    const argv = ["ls-files", "-z", "-co", "--exclude-standard", "--", ".", ...unneeded];
    const files = run("git", argv, root)
      .toString()
      .split("\0")
      .filter((file) => existsSync(join(root, file)));
    for (const file of files.filter(Boolean)) {
      mkdirSync(join(copy, dirname(file)), { recursive: true });
      cpSync(join(root, file), join(copy, file));
    }
    mkdirSync(into, { recursive: true });
    const build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])";
    run(python, ["-I", "-c", build, into], copy);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

rmSync(join(here, "server"), { recursive: true, force: true });
archiveSources(join(here, "server"));
run(process.execPath, ["build.mjs"], here);
cpSync(join(root, "LICENSE"), join(here, "LICENSE"));
const flags = ["--no-dependencies", "--allow-missing-repository", "--no-rewrite-relative-links"];
const vsce = join(here, "node_modules/@vscode/vsce/vsce");
run(process.execPath, [vsce, "package", ...flags, "--out", join(here, "dist/midword.vsix")], here);
console.log(join(here, "dist/midword.vsix"));
