/** A window of VS Code in headless Chromium, and what a person sees and does in it. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { type BrowserContext, chromium, errors, type Locator, type Page } from "playwright-core";
import { eventually } from "./waiting";

const PICTURES = path.resolve(__dirname, "../pictures");
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export class Window {
  private constructor(
    private readonly context: BrowserContext,
    private readonly profile: string,
    readonly page: Page,
  ) {}

  static async open(url: string): Promise<Window> {
    const profile = mkdtempSync(path.join(tmpdir(), "midword-chromium-"));
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: "/usr/bin/chromium",
      headless: true,
      args: FLAGS,
      viewport: { width: 1000, height: 620 },
    });
    const page = context.pages()[0] ?? (await context.newPage());
    page.setDefaultTimeout(180_000);
    await page.goto(url);
    await page.locator(".monaco-editor .view-line").first().waitFor();
    await page.locator(".monaco-editor.focused").waitFor();
    await page.keyboard.press("Control+b");
    return new Window(context, profile, page);
  }

  async close(): Promise<void> {
    await this.context.close();
    rmSync(this.profile, { recursive: true, force: true });
  }

  /** What the status bar says, with the tooltip's sentences. */
  async status(): Promise<string> {
    const item = this.page.locator('[id$="midword.midword"] a').first();
    return (await item.count()) > 0 ? ((await item.getAttribute("aria-label")) ?? "") : "";
  }

  /** The first status that matches. */
  waitForStatus(pattern: RegExp): Promise<string> {
    return eventually(`the status matches ${pattern}`, async () => {
      const status = await this.status();
      return pattern.test(status) ? status : undefined;
    });
  }

  /** Opens the menu behind the status bar item. */
  async clickStatus(): Promise<void> {
    await this.click(this.page.locator('[id$="midword.midword"] a'));
  }

  /** Takes the row with this name from the list that is open. */
  async choose(name: string): Promise<void> {
    await this.click(this.row(name));
  }

  /** The titles of the steps of the walkthrough that is open. */
  async steps(): Promise<string[]> {
    const titles = this.page.locator(".getting-started-step .step-title");
    await titles.first().waitFor();
    return (await titles.allTextContents()).map((text) => text.trim());
  }

  /** Opens a step of the walkthrough and presses a button in it. */
  async pressInStep(title: string, button: string): Promise<void> {
    const step = this.page.locator(".getting-started-step", {
      has: this.page.locator(".step-title", { hasText: new RegExp(`^${title}$`) }),
    });
    await step.locator(".step-title").click();
    await this.click(step.locator(".monaco-button", { hasText: button }));
  }

  /** The rows of the list with this title, each as one text. */
  async rows(title: string): Promise<string[]> {
    const list = this.page.locator(".quick-input-widget", {
      has: this.page.locator(".quick-input-title", { hasText: new RegExp(`^${title}$`) }),
    });
    const rows = list.locator(".monaco-list-row");
    await rows.first().waitFor();
    return (await rows.allInnerTexts()).map(asOneLine);
  }

  /** Presses the button of the page about the trust in the workspace. */
  async trust(): Promise<void> {
    await this.page.locator(".workspace-trust-editor .monaco-button", { hasText: /^Trust$/ }).click();
  }

  /** Presses a button of a notification. */
  async answer(button: string): Promise<void> {
    await this.page.locator(".notification-toast .monaco-button", { hasText: button }).click();
  }

  /** The first notification that matches. */
  notification(pattern: RegExp): Promise<string> {
    return eventually(`a notification matches ${pattern}`, async () => {
      const texts = await this.page.locator(".notification-toast .notification-list-item").allInnerTexts();
      return texts.map(asOneLine).find((text) => pattern.test(text));
    });
  }

  async clearNotifications(): Promise<void> {
    await this.run("Notifications: Clear All Notifications");
    await eventually("no notification is left", async () => {
      return (await this.page.locator(".notification-toast").count()) === 0;
    });
  }

  /** Closes what is shown beside the text. */
  async closePages(): Promise<void> {
    await this.run("View: Close Editors in Other Groups");
    await eventually(
      "no page is left",
      async () => (await this.page.locator("iframe.webview").count()) === 0,
    );
  }

  /** The text of a page by itself, as a browser reads it. */
  async textOf(html: string): Promise<string> {
    const page = await this.context.newPage();
    await page.setContent(html);
    const text = (await page.locator("body").textContent()) ?? "";
    await page.close();
    return text.trim();
  }

  /** The text of the page beside the editor, once it has any. */
  webview(): Promise<string> {
    const frame = this.page.frameLocator("iframe.webview").frameLocator("iframe");
    return eventually("the page is shown", async () => {
      const body = frame.locator("body");
      return (await body.count()) > 0 && ((await body.textContent()) ?? "").trim();
    });
  }

  /** All the grey text, lines joined; empty if there is none. */
  async ghostText(): Promise<string> {
    const parts = await this.page
      .locator('.monaco-editor [class*="ghost-text-decoration"]')
      .allTextContents();
    return parts.join("").replaceAll("\u00a0", " ");
  }

  /** The grey text once it is there and the one that is waited for. */
  waitForGhostText(isIt: (text: string) => boolean = () => true): Promise<string> {
    return eventually("there is the ghost text", async () => {
      const text = await this.ghostText();
      return text !== "" && isIt(text) && text;
    });
  }

  async press(key: string): Promise<void> {
    await this.page.keyboard.press(key);
  }

  async type(text: string): Promise<void> {
    await this.page.keyboard.type(text, { delay: 40 });
  }

  /** Opens `file` with the cursor at `line` and `column`, both from 1. */
  async goTo(file: string, line: number, column: number): Promise<void> {
    const name = path.basename(file);
    const row = this.page.locator(".quick-input-list .monaco-list-row.focused", { hasText: name });
    await this.pick("Control+p", `${file}:${line}:${column}`, row);
    await this.page.locator(`.monaco-editor.focused[data-uri$="/${name}"]`).waitFor();
    await this.page.locator(".statusbar-item", { hasText: `Ln ${line},` }).waitFor();
  }

  /** Presses a key that takes some or all of the grey text, and waits until it has done so. */
  async take(key: string): Promise<void> {
    const before = await this.ghostText();
    await this.press(key);
    await eventually(`${key} takes grey text`, async () => (await this.ghostText()) !== before);
  }

  /** Runs a command of the palette by its whole title. */
  async run(title: string): Promise<void> {
    await this.pick("F1", `>${title}`, this.row(title));
  }

  /**
   * Opens a list with `key`, types `text` into it and takes `row`. More than once if it has to: the list closes
   * when anything else takes the focus, such as a page that is drawn just then.
   */
  private async pick(key: string, text: string, row: Locator): Promise<void> {
    const input = this.page.locator(".quick-input-widget input");
    await eventually(`the list behind ${key} has ${text}`, async () => {
      try {
        await this.press(key);
        await input.fill(text, { timeout: 5_000 });
        await this.click(row, { timeout: 10_000 });
        return true;
      } catch (error) {
        if (error instanceof errors.TimeoutError) {
          return false;
        }
        throw error;
      }
    });
  }

  /** Clicks, and moves away from whatever is under the pointer then: a hover would be in the way. */
  private async click(what: Locator, options: { timeout?: number } = {}): Promise<void> {
    await what.click(options);
    await this.page.mouse.move(500, 560);
  }

  /** The row with this name in the list that is open. */
  private row(name: string): Locator {
    const label = this.page.locator(".label-name", { hasText: new RegExp(`^${name}$`) });
    return this.page.locator(".quick-input-list .monaco-list-row").filter({ has: label });
  }

  /** The bytes of a file with unsaved changes, after they were saved. */
  async save(file: string): Promise<Buffer> {
    const before = readFileSync(file);
    let last = before;
    await this.press("Control+s");
    return eventually("the file is saved", () => {
      const now = readFileSync(file);
      // A file that is being written is empty, or there in part.
      const isWhole = now.length > 0 && now.equals(last);
      last = now;
      return isWhole && !now.equals(before) && now;
    });
  }

  /** Keeps what is seen as build/pictures/NAME.png. */
  async picture(name: string): Promise<void> {
    mkdirSync(PICTURES, { recursive: true });
    writeFileSync(path.join(PICTURES, `${name}.png`), await this.page.screenshot());
  }
}

function asOneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ").trim();
}
