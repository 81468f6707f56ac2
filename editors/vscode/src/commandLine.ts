/** The `midword` command beside the running server: pages and models. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { ProgramError, type RunOptions, run } from "./processes";
import type { Server } from "./server";

/** Rejects with ProgramError if there is no server or the command fails. */
export async function midword(
  server: Server,
  argv: readonly string[],
  options?: RunOptions,
): Promise<string> {
  const plan = server.plan();
  if (plan.kind === "missing") {
    throw new ProgramError(plan.sentence);
  }
  return run(plan.command, argv, options);
}

/** The page that `midword ARGV --html OUT` writes. Nothing is left on disk. */
export async function midwordPage(server: Server, argv: readonly string[]): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), "midword-"));
  try {
    const file = path.join(folder, "page.html");
    await midword(server, [...argv, "--html", file]);
    return await readFile(file, "utf8");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
