/** What a click on the status bar offers, the likeliest help first. Pure. */
import type { ActiveDocument, State } from "./status";

export interface Action {
  readonly label: string;
  readonly command: string;
  readonly argument?: string;
}

export function actionsFor(state: State, document: ActiveDocument | undefined): Action[] {
  return [...help(state), ...switches(document), ...ALWAYS];
}

const INSTALL: Action = { label: "$(cloud-download) Install the server", command: "midword.installServer" };
const RESTART: Action = {
  label: "$(debug-restart) Start the server again",
  command: "midword.restartServer",
};
const LOG: Action = { label: "$(output) Show the log", command: "midword.showLog" };
const MODEL: Action = { label: "$(list-selection) Choose a model…", command: "midword.chooseModel" };
const PATH: Action = {
  label: "$(gear) Set the path of the server",
  command: "workbench.action.openSettings",
  argument: "midword.serverPath",
};
const ALWAYS: readonly Action[] = [
  { label: "$(question) Explain the completion at the cursor", command: "midword.explainCompletion" },
  MODEL,
  { label: "$(graph) Show statistics", command: "midword.showStatistics" },
  RESTART,
  LOG,
  { label: "$(gear) Settings", command: "workbench.action.openSettings", argument: "midword" },
];

function help(state: State): Action[] {
  if (state.phase === "missing") {
    return [INSTALL, PATH];
  }
  if (state.phase === "failed" || state.phase === "stopped" || state.status?.kind === "Error") {
    return [RESTART, LOG, MODEL];
  }
  return [];
}

function switches(document: ActiveDocument | undefined): Action[] {
  const off = document?.off;
  const icon = (isOff: boolean) => (isOff ? "$(circle-slash)" : "$(check)");
  const everywhere = {
    label: `${icon(off === "everywhere")} Completions: switch ${off === "everywhere" ? "on" : "off"}`,
    command: "midword.toggle",
  };
  if (document === undefined || off === "everywhere") {
    return [everywhere];
  }
  const name = document.languageName;
  return [
    everywhere,
    {
      label: `${icon(off === "language")} ${name}: switch ${off === "language" ? "on" : "off"}`,
      command: "midword.toggleLanguage",
    },
    {
      label: `${icon(off === "file")} This file: switch ${off === "file" ? "on" : "off"}`,
      command: "midword.toggleFile",
    },
  ];
}
