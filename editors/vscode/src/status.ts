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
  const sentences = [asSentence(status.message), ...factsOf(status, latency)];
  if (status.progress !== undefined) {
    return make("cloud-download", `model ${Math.floor(status.progress)} %`, sentences);
  }
  const icon = status.busy ? "loading~spin" : "check";
  switch (status.kind) {
    case "Error":
      return status.busy
        ? make(icon, "restarting", sentences, "error")
        : make("error", "error", [...sentences, "Click for the log and to start it again."], "error");
    case "Warning":
      return make(status.busy ? icon : "warning", latency, sentences, "warning");
    case "Inactive":
      return status.uri === undefined || status.uri === document?.uri
        ? make("circle-slash", OFF[status.reason ?? ""] ?? "off for this file", sentences)
        : make("check", latency, sentences.slice(1));
    case "Normal":
      return make(icon, latency, sentences);
  }
}

/** What is off, where it is not this file alone. */
const OFF: Readonly<Record<string, string>> = {
  disabled: "off",
  "language-off": "off for this language",
  "power-saving": "saving power",
};

function factsOf(status: ServerStatus, latency: string): string[] {
  const restarts = status.restarts ?? 0;
  return [
    status.model === undefined ? "" : `Model: ${status.model}.`,
    latency === "" ? "" : `Last answer after ${latency}.`,
    restarts === 0 ? "" : `The engine was restarted ${restarts === 1 ? "once" : `${restarts} times`}.`,
  ];
}

/** The server's messages begin small and end without a stop, as parts of a log line do. */
function asSentence(message: string): string {
  const whole = message.charAt(0).toUpperCase() + message.slice(1);
  return whole === "" || /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

function make(
  icon: string,
  text: string,
  sentences: readonly string[],
  severity: View["severity"] = "normal",
): View {
  return { icon, text, sentences: sentences.filter((sentence) => sentence !== ""), severity };
}
