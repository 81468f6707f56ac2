// Installs what the tests of the extension need. Reuses what is there; a stamp names what it was made from.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const here = resolve(import.meta.dirname, "..");

/** Runs npm and keeps its output for the case that it fails. */
function npm(argv, cwd) {
  try {
    execFileSync("npm", [...argv, "--ignore-scripts", "--no-audit", "--no-fund"], { cwd, stdio: "pipe" });
  } catch (error) {
    console.error(String(error.stderr ?? error));
    throw new Error(`npm ${argv[0]} failed in ${cwd}; it needs the npm registry`);
  }
}

function installPackages(folder) {
  const lock = createHash("sha256")
    .update(readFileSync(join(folder, "package-lock.json")))
    .digest("hex");
  const stamp = join(folder, "node_modules", ".midword-lock");
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== lock) {
    console.log(`setup: npm packages for ${folder}`);
    npm(["ci"], folder);
    writeFileSync(stamp, lock);
  }
}

try {
  installPackages(here);
} catch (error) {
  console.error(`setup: ${error.message}`);
  process.exit(2);
}
