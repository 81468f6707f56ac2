/** Offering and making the private environment, with progress. */
import { commands, type ExtensionContext, type LogOutputChannel, ProgressLocation, window } from "vscode";
import { findPython, install, ownVenv, removeOthers } from "./install";
import { ProgramError } from "./processes";
import type { Server } from "./server";
import { stringSetting } from "./settings";

const DECLINED = "midword.installDeclined";

/** Once: asks whether to install a server that is missing, or to update one that is older than the extension. */
export async function offerInstallation(server: Server, context: ExtensionContext): Promise<void> {
  const plan = server.plan();
  const own = ownVenv(server.storage, server.archive);
  const missing = plan.kind === "missing" && plan.installable;
  const outdated = plan.kind === "found" && plan.source === "private" && own.outdated;
  const version = String(context.extension.packageJSON.version);
  if (
    server.archive === undefined ||
    !(missing || outdated) ||
    context.globalState.get(DECLINED) === version
  ) {
    return;
  }
  const question = missing
    ? "midword needs its server. Install it into a Python environment of its own? Compiling takes some minutes."
    : "midword's server is older than the extension. Update it? Compiling takes some minutes.";
  const yes = missing ? "Install" : "Update";
  if ((await window.showInformationMessage(question, yes, "Not Now")) === yes) {
    await commands.executeCommand("midword.installServer");
  } else {
    await context.globalState.update(DECLINED, version);
  }
}

/** Rejects with ProgramError. */
export async function installServer(server: Server, log: LogOutputChannel): Promise<void> {
  const { archive, storage, places } = server;
  if (archive === undefined) {
    throw new ProgramError("This build of the extension has no server in it; set midword.serverPath.");
  }
  const python = await findPython(stringSetting("pythonPath"), places);
  const title = "midword: installing the server";
  const where = { location: ProgressLocation.Notification, title, cancellable: true };
  await window.withProgress(where, async (progress, token) => {
    const stop = new AbortController();
    token.onCancellationRequested(() => stop.abort());
    let shown = "";
    const report = (step: string, line: string) => {
      log.info(line);
      if (step !== shown) {
        shown = step;
        progress.report({ message: step });
        server.dispatch({ type: "phase", phase: "installing", detail: step });
      }
    };
    try {
      removeOthers(storage, await install(storage, archive, python, report, stop.signal));
    } finally {
      await server.restart(true);
    }
  });
}
