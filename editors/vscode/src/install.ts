/** The private virtual environment: one folder per source archive, so that an update that fails leaves the old one. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { findOnPath, type Places, venvPaths } from "./discovery";
import { ProgramError, run } from "./processes";
import { pipStep } from "./progress";

const PYTHONS = ["python3.14", "python3.13", "python3.12", "python3.11", "python3", "python"];
const PYTHON_CHECK = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
const PREFIX = "server-";
/** Written last: an environment without it was never finished. */
const COMPLETE = "midword-complete";

/** The archive that was packaged with the extension, undefined if it was packaged without one. */
export function bundledArchive(extensionFolder: string): string | undefined {
  const folder = path.join(extensionFolder, "server");
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const archive = names.find((name) => name.endsWith(".tar.gz"));
  return archive === undefined ? undefined : path.join(folder, archive);
}

/** The folder for `archive` below `storage`, whether it is there or not. */
export function venvFolder(storage: string, archive: string): string {
  const hash = createHash("sha256").update(readFileSync(archive)).digest("hex");
  return path.join(storage, PREFIX + hash.slice(0, 16));
}

export interface OwnVenv {
  /** Undefined if none has been finished. */
  readonly folder: string | undefined;
  /** Made from another archive than the one that came with this extension. */
  readonly outdated: boolean;
}

export function ownVenv(storage: string, archive: string | undefined): OwnVenv {
  const wanted = archive === undefined ? undefined : venvFolder(storage, archive);
  const complete = folders(storage).filter((folder) => existsSync(path.join(folder, COMPLETE)));
  if (wanted !== undefined && complete.includes(wanted)) {
    return { folder: wanted, outdated: false };
  }
  return { folder: complete[0], outdated: wanted !== undefined && complete.length > 0 };
}

/** Deletes all environments but `kept`. */
export function removeOthers(storage: string, kept: string): void {
  for (const folder of folders(storage).filter((other) => other !== kept)) {
    rmSync(folder, { recursive: true, force: true });
  }
}

function folders(storage: string): string[] {
  const names = existsSync(storage) ? readdirSync(storage).sort() : [];
  return names.filter((name) => name.startsWith(PREFIX)).map((name) => path.join(storage, name));
}

/** The first Python that is new enough and can make environments. Rejects with ProgramError. */
export async function findPython(
  setting: string,
  places: Pick<Places, "searchPath" | "platform" | "isExecutable">,
): Promise<string> {
  const onPath = PYTHONS.map((name) => findOnPath(name, places)).filter((file) => file !== undefined);
  for (const python of setting ? [setting] : onPath) {
    try {
      await run(python, ["-I", "-c", PYTHON_CHECK]);
      return python;
    } catch {
      // The next one may do.
    }
  }
  throw new ProgramError(
    setting
      ? `midword.pythonPath is “${setting}”, but that is no Python 3.11 or newer with venv.`
      : "Python 3.11 or newer with venv is not on PATH; install it (Debian, Ubuntu: apt install python3-venv).",
  );
}

/**
 * Makes the environment for `archive` and returns its folder; `report` hears of each step and of each line.
 * Rejects with ProgramError; then nothing of the new environment is left.
 */
export async function install(
  storage: string,
  archive: string,
  python: string,
  report: (step: string, line: string) => void,
  signal: AbortSignal,
): Promise<string> {
  const folder = venvFolder(storage, archive);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(storage, { recursive: true });
  try {
    report("making the Python environment", "");
    await run(python, ["-I", "-m", "venv", folder], { signal });
    let step = "starting pip";
    const onLine = (line: string) => {
      step = pipStep(line) ?? step;
      report(step, line);
    };
    const argv = ["-I", "-m", "pip", "install", "-v", "--no-input", "--progress-bar", "off", archive];
    await run(venvPaths(folder, process.platform).python, argv, { signal, onLine });
    writeFileSync(path.join(folder, COMPLETE), "");
    return folder;
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}
