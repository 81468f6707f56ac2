/** Running a program to its end, with its lines on the way. */
import { type ChildProcess, spawn } from "node:child_process";
import { homedir } from "node:os";
import { createInterface } from "node:readline";

export interface RunOptions {
  /** Called with each line of stdout and stderr. */
  readonly onLine?: (line: string) => void;
  /** Ends the program and all that it started. */
  readonly signal?: AbortSignal;
}

/** A program that could not be started or that failed; the message is one sentence. */
export class ProgramError extends Error {}

/**
 * What the program wrote to stdout. Rejects with ProgramError, whose message is the last line of stderr that
 * names an error, otherwise the last line. Its folder is the home folder: the opened one must not decide what is run.
 */
export function run(command: string, argv: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted) {
      reject(new ProgramError("It was cancelled."));
      return;
    }
    // A process group of its own: pip starts compilers, which have to end with it.
    const detached = process.platform !== "win32";
    const child = spawn(command, argv, {
      cwd: homedir(),
      stdio: ["ignore", "pipe", "pipe"],
      windowsHide: true,
      detached,
    });
    options.signal?.addEventListener("abort", () => end(child), { once: true });
    const output: string[] = [];
    let lastWords = "";
    let lastError = "";
    createInterface(child.stdout).on("line", (line) => {
      output.push(line);
      options.onLine?.(line);
    });
    createInterface(child.stderr).on("line", (line) => {
      lastWords = line.trim() || lastWords;
      lastError = /\berror: /i.test(line) ? line.trim() : lastError;
      options.onLine?.(line);
    });
    child.on("error", (error) => reject(new ProgramError(`${command} cannot be run: ${error.message}`)));
    child.on("close", (code) => {
      if (options.signal?.aborted) {
        reject(new ProgramError("It was cancelled."));
      } else if (code === 0) {
        resolve(output.join("\n"));
      } else {
        reject(new ProgramError(lastError || lastWords || `${command} ended with code ${code}`));
      }
    });
  });
}

function end(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null) {
    return;
  }
  if (process.platform === "win32") {
    child.kill();
  } else {
    process.kill(-child.pid, "SIGTERM");
  }
}
