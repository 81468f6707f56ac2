/** Models that are not on this machine: downloaded with progress, by the command and by the server. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { constants } from "node:fs";
import { type FileHandle, open as openFile, readFile, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { eventually } from "../waiting";
import { open, server, window } from "./session";

/** The source of a model is a pipe: it comes as far as the test lets it. */
class Download {
  private readonly pipe: string;

  constructor(
    private readonly name: string,
    private readonly model: Buffer,
  ) {
    this.pipe = server.file(`${name}.pipe`);
    execFileSync("mkfifo", [this.pipe]);
  }

  /** As an entry of the user's own registry. */
  get entry(): string {
    return `[models.${this.name}]
source = [${JSON.stringify(`file:${this.pipe}`)}]
sha256 = ""
size_bytes = ${this.model.length}
shipped = "q8_0"
weights = "q8_0"
licence = "Apache-2.0"
fim = "none"
stop = ["<|endoftext|>", "<|im_end|>"]
context = 8192
`;
  }

  /** Delivers half, looks, delivers the rest. */
  async deliver(lookAtHalf: () => Promise<void>): Promise<void> {
    const half = this.model.length >> 1;
    const end = await this.opened();
    try {
      await end.writeFile(this.model.subarray(0, half));
      await lookAtHalf();
      await end.writeFile(this.model.subarray(half));
    } finally {
      await end.close();
    }
  }

  /** The pipe's end, once somebody reads at the other. */
  private async opened(): Promise<FileHandle> {
    const first = await eventually(`${this.name} is fetched`, () =>
      openFile(this.pipe, constants.O_WRONLY | constants.O_NONBLOCK).catch(() => undefined),
    );
    const end = await openFile(this.pipe, "w");
    await first.close();
    return end;
  }
}

let download: Download;

test("choosing a model that is not here downloads it with progress, then it completes", async () => {
  download = new Download("chosen", await readFile(server.defaultModel));
  await writeFile(server.inHome("registry.toml"), download.entry);
  await window.run("midword: Choose Model…");
  const rows = await window.rows("midword: choose a model");
  assert.match(rows.find((row) => row.startsWith("chosen")) ?? "", /145 MB · Apache-2\.0.*to be downloaded/);
  await window.choose("chosen");
  await download.deliver(async () => {
    await window.notification(/midword: downloading chosen: .*7\d of 145 MB/);
    assert.equal(server.status?.model, "smollm2-135m-fim", "the old one goes on meanwhile");
    await window.picture("download");
  });
  await window.waitForStatus(/Model: chosen/);
  assert.equal(server.commandLines("models pull").length, 1);
  await open("chosen.py");
  await window.type("custo");
  assert.match(await window.waitForGhostText(), /^mer/);
});

test("a model that the server has to fetch is a percentage in the status bar", async () => {
  await rm(server.inHome("models/chosen"), { recursive: true });
  server.isOlder = false;
  await window.run("midword: Restart the Server");
  await download.deliver(async () => {
    const told = await window.waitForStatus(/^midword, model [1-9]\d? %/);
    assert.ok(Number(/\d+/.exec(told)?.[0]) <= 50, told); // the engine does not tell each block
  });
  await window.waitForStatus(/Model: chosen/);
  await window.run("midword: Choose Model…");
  await window.rows("midword: choose a model");
  await window.choose("smollm2-135m-fim");
  await window.waitForStatus(/Model: smollm2-135m-fim/);
  assert.equal(server.commandLines("models pull").length, 1, "neither has the editor fetched");
  await eventually("one engine is left", () => server.engines().length === 1);
});
