/** What the status bar says: the server's notifications and the client's own state → one view. Pure. */

/** The parameters of the server's notification `didChangeStatus`. */
export interface ServerStatus {
  readonly kind: "Normal" | "Warning" | "Error" | "Inactive";
  readonly busy: boolean;
  readonly message: string;
  readonly model?: string;
  /** Of the last answer. */
  readonly latencyMs?: number;
  /** 0 to 100 while a model is downloaded. */
  readonly progress?: number;
  /** The document that `reason` is about. */
  readonly uri?: string;
  /** A short stable id: why this document gets nothing. */
  readonly reason?: string;
  /** How often the engine was started again. */
  readonly restarts?: number;
}

export type Phase = "missing" | "installing" | "starting" | "running" | "stopped" | "failed";

export interface State {
  readonly phase: Phase;
  /** One sentence for the phases missing and failed, the current step while installing. */
  readonly detail: string;
  readonly status: ServerStatus | undefined;
  readonly latencyMs: number | undefined;
}

export type Event =
  | { readonly type: "phase"; readonly phase: Phase; readonly detail?: string }
  | { readonly type: "status"; readonly status: ServerStatus };

export const INITIAL: State = { phase: "starting", detail: "", status: undefined, latencyMs: undefined };

export function reduce(state: State, event: Event): State {
  if (event.type === "status") {
    return { ...state, status: event.status, latencyMs: event.status.latencyMs ?? state.latencyMs };
  }
  const kept = event.phase === state.phase ? state.status : undefined;
  return { ...state, phase: event.phase, detail: event.detail ?? "", status: kept };
}

/** The active editor. `off`: the switch of the client that is off, the widest first. */
export interface ActiveDocument {
  readonly uri: string;
  readonly languageName: string;
  readonly off: "everywhere" | "language" | "file" | undefined;
}

export interface View {
  /** A codicon's name, such as `check` or `loading~spin`. */
  readonly icon: string;
  /** Behind “midword” in the bar; may be empty. */
  readonly text: string;
  /** Sentences for the tooltip, the most important first. */
  readonly sentences: readonly string[];
  readonly severity: "normal" | "warning" | "error";
}

export function view(state: State, document: ActiveDocument | undefined): View {
  return phaseView(state) ?? switchView(document) ?? statusView(state, document);
}

function phaseView({ phase, detail }: State): View | undefined {
  switch (phase) {
    case "missing":
      return make("error", "no server", [detail, "Click for what to do."], "error");
    case "failed":
      return make("error", "error", [detail, "Click for the log and to start it again."], "error");
    case "installing":
      return make("loading~spin", "installing", [`Installing the server: ${detail || "starting"}.`]);
    case "starting":
      return make("loading~spin", "starting", ["The server is starting."]);
    case "stopped":
      return make("debug-stop", "stopped", ["The server is not running.", "Click to start it."], "warning");
    case "running":
      return undefined;
  }
}

function switchView(document: ActiveDocument | undefined): View | undefined {
  switch (document?.off) {
    case "everywhere":
      return make("circle-slash", "off", ["Completions are switched off.", "Click to switch them on."]);
    case "language":
      return make("circle-slash", `off for ${document.languageName}`, [
        `Completions are switched off for ${document.languageName}.`,
        "Click to switch them on.",
      ]);
    case "file":
      return make("circle-slash", "off for this file", [
        "Completions are switched off for this file.",
        "Click to switch them on.",
      ]);
    default:
      return undefined;
  }
}

function statusView(state: State, document: ActiveDocument | undefined): View {
  const { status, latencyMs } = state;
  const latency = latencyMs === undefined ? "" : `${Math.round(latencyMs)} ms`;
  if (status === undefined) {
    return make("check", latency, ["Ready."]);
  }
  const facts = factsOf(status, latency);
  if (status.progress !== undefined) {
    const percent = Math.floor(status.progress);
    const said = status.message || "The model is being downloaded.";
    return make("cloud-download", `model ${percent} %`, [said, ...facts]);
  }
  if (status.kind === "Error") {
    return make("error", "error", [status.message || "The engine does not answer.", ...facts], "error");
  }
  const reason = reasonFor(status, document);
  if (reason !== undefined) {
    return make("circle-slash", "off for this file", [reason, ...facts]);
  }
  const latest = status.busy ? "loading~spin" : "check";
  if (status.kind === "Warning") {
    return make(status.busy ? latest : "warning", latency, [status.message, ...facts], "warning");
  }
  if (status.kind === "Inactive") {
    return make("circle-slash", "off", [status.message || "Nothing is completed now.", ...facts]);
  }
  return make(latest, latency, [status.message || (status.busy ? "Thinking." : "Ready."), ...facts]);
}

function factsOf(status: ServerStatus, latency: string): string[] {
  const facts: string[] = [];
  if (status.model !== undefined) {
    facts.push(`Model: ${status.model}.`);
  }
  if (latency !== "") {
    facts.push(`Last answer after ${latency}.`);
  }
  if (status.restarts) {
    facts.push(`The engine was restarted ${status.restarts === 1 ? "once" : `${status.restarts} times`}.`);
  }
  return facts;
}

const REASONS: Readonly<Record<string, string>> = {
  disabled: "Completions are switched off.",
  "language-off": "Completions are switched off for this language.",
  excluded: "This file matches a pattern of midword.exclude.",
  "secret-file": "This file looks like one that holds secrets: it is neither completed nor read as context.",
  "ignored-by-midwordignore": "This file is listed in .midwordignore.",
  "midwordignore-error": ".midwordignore has a mistake, so nothing in its folder is completed.",
  "too-large": "This file is too large.",
  minified: "This file looks minified.",
  generated: "This file looks generated.",
  "power-saving": "Saving power: completions come only when asked for by hand.",
};

/** The sentence for a reason that is about the active document. */
function reasonFor(status: ServerStatus, document: ActiveDocument | undefined): string | undefined {
  if (status.reason === undefined || (status.uri !== undefined && status.uri !== document?.uri)) {
    return undefined;
  }
  return REASONS[status.reason] ?? (status.message || `Nothing is completed here: ${status.reason}.`);
}

function make(
  icon: string,
  text: string,
  sentences: readonly string[],
  severity: View["severity"] = "normal",
): View {
  return { icon, text, sentences: sentences.filter((sentence) => sentence !== ""), severity };
}
