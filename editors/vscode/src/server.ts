/** The connection to the server: one client at a time, replaced when the plan changes. */
import { accessSync, constants } from "node:fs";
import { homedir } from "node:os";
import {
  commands,
  type Disposable,
  EventEmitter,
  type ExtensionContext,
  type LogOutputChannel,
} from "vscode";
import {
  State as ClientState,
  CloseAction,
  DidChangeConfigurationNotification,
  ErrorAction,
  ExecuteCommandRequest,
  LanguageClient,
  type LanguageClientOptions,
  ResponseError,
} from "vscode-languageclient/node";
import { type Found, findServer, type Missing, type Places } from "./discovery";
import type { FileSwitches } from "./fileSwitches";
import { bundledArchive, ownVenv } from "./install";
import { ProgramError } from "./processes";
import { Restarts } from "./restarts";
import { offSwitch, optionsForServer, stringSetting } from "./settings";
import { type Event, INITIAL, type Phase, reduce, type ServerStatus, type State } from "./status";

/** After this many ends of the server within three minutes it is not started again by itself. */
const PATIENCE = 4;

const PHASES: Partial<Record<ClientState, Phase>> = {
  [ClientState.Stopped]: "stopped",
  [ClientState.Starting]: "starting",
  [ClientState.Running]: "running",
};

export class Server implements Disposable {
  private client: LanguageClient | undefined;
  private current: State = INITIAL;
  private readonly changes = new EventEmitter<void>();
  private readonly restarts = new Restarts<Found | Missing>(
    async () => this.plan(),
    (plan) => this.apply(plan),
  );
  readonly onDidChange = this.changes.event;

  constructor(
    private readonly context: ExtensionContext,
    private readonly files: FileSwitches,
    private readonly log: LogOutputChannel,
  ) {}

  get state(): State {
    return this.current;
  }

  get storage(): string {
    return this.context.globalStorageUri.fsPath;
  }

  get archive(): string | undefined {
    return bundledArchive(this.context.extensionPath);
  }

  get places(): Places {
    return {
      setting: stringSetting("serverPath"),
      searchPath: process.env.PATH ?? "",
      home: homedir(),
      platform: process.platform,
      privateVenv: ownVenv(this.storage, this.archive).folder,
      isExecutable,
    };
  }

  plan(): Found | Missing {
    return findServer(this.places);
  }

  dispatch(event: Event): void {
    this.current = reduce(this.current, event);
    this.changes.fire();
  }

  /** Starts, or starts again if the command has changed or `demanded` is true. */
  async restart(demanded = false): Promise<void> {
    await this.restarts.request(demanded);
  }

  /** Sends the settings of now. */
  async configure(): Promise<void> {
    if (this.client?.state === ClientState.Running) {
      const settings = { midword: optionsForServer() };
      await this.client.sendNotification(DidChangeConfigurationNotification.type, { settings });
    }
  }

  /**
   * The answer of a command of the server, undefined if it has none of that name. Rejects with ProgramError
   * if the server refuses.
   */
  async execute<Answer>(command: string, ...argv: unknown[]): Promise<Answer | undefined> {
    const known = this.client?.initializeResult?.capabilities.executeCommandProvider?.commands ?? [];
    if (this.client?.state !== ClientState.Running || !known.includes(command)) {
      return undefined;
    }
    try {
      return await this.client.sendRequest(ExecuteCommandRequest.type, { command, arguments: argv });
    } catch (error) {
      throw error instanceof ResponseError ? new ProgramError(error.message) : error;
    }
  }

  /** Tells which document the user looks at, and asks what is to be said about it. */
  async focus(uri: string): Promise<void> {
    const status = await this.execute<ServerStatus>("midword.status", { uri });
    if (status) {
      await this.client?.sendNotification("textDocument/didFocus", { textDocument: { uri } });
      this.dispatch({ type: "status", status });
    }
  }

  async dispose(): Promise<void> {
    await this.stop();
    this.changes.dispose();
  }

  private async apply(plan: Found | Missing): Promise<void> {
    await this.stop();
    if (plan.kind === "missing") {
      this.log.warn(plan.sentence);
      this.dispatch({ type: "phase", phase: "missing", detail: plan.sentence });
      return;
    }
    this.log.info(`starting ${plan.command} (from ${plan.source})`);
    this.dispatch({ type: "phase", phase: "starting" });
    const client = this.makeClient(plan.command);
    this.client = client;
    try {
      await client.start();
      this.log.info(`ready: midword ${client.initializeResult?.serverInfo?.version ?? "of unknown version"}`);
    } catch (error) {
      this.dispatch({ type: "phase", phase: "failed", detail: `The server did not start: ${error}` });
    }
  }

  private async stop(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    try {
      await client?.dispose();
    } catch (error) {
      this.log.debug(`the old server did not end cleanly: ${error}`);
    }
  }

  private makeClient(command: string): LanguageClient {
    const executable = { command, args: ["lsp", "--stdio"], options: { cwd: homedir() } };
    const client = new LanguageClient("midword", "midword", executable, this.clientOptions());
    client.onDidChangeState(({ newState }) => this.follow(client, newState));
    client.onNotification("didChangeStatus", (status: ServerStatus) => {
      this.dispatch({ type: "status", status });
    });
    client.onNotification("midword/usage", (note: unknown) => {
      this.log.info(`usage ${JSON.stringify(note)}`);
    });
    return client;
  }

  private follow(client: LanguageClient, state: ClientState): void {
    const phase = PHASES[state];
    // A failure says more than the stop that follows it.
    const isOver = phase === "stopped" && this.current.phase === "failed";
    if (client !== this.client || phase === undefined || isOver) {
      return;
    }
    this.dispatch({ type: "phase", phase });
    void commands.executeCommand("setContext", "midword.running", phase === "running");
  }

  private clientOptions(): LanguageClientOptions {
    const ends: number[] = [];
    return {
      documentSelector: [{ scheme: "file" }, { scheme: "untitled" }],
      outputChannel: this.log,
      initializationOptions: optionsForServer,
      initializationFailedHandler: () => false,
      middleware: {
        provideInlineCompletionItems: (document, position, context, token, next) =>
          offSwitch(document, this.files.isOff(document.uri))
            ? null
            : next(document, position, context, token),
      },
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => {
          ends.push(Date.now());
          const recent = ends.filter((end) => Date.now() - end < 180_000).length;
          if (recent <= PATIENCE) {
            return { action: CloseAction.Restart, handled: true };
          }
          this.dispatch({ type: "phase", phase: "failed", detail: `The server ended ${recent} times.` });
          return { action: CloseAction.DoNotRestart, handled: true };
        },
      },
    };
  }
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
