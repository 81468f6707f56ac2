/** The language server's messages from a file of raw JSON-RPC frames. */
import { readFileSync } from "node:fs";

export interface Message {
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: unknown;
}

/** The whole frames of `file`; the last one may still be being written. */
export function parseMessages(file: string): Message[] {
  const bytes = readFileSync(file);
  const messages: Message[] = [];
  for (let at = 0; ; ) {
    const body = bytes.indexOf("\r\n\r\n", at) + 4;
    const length = /Content-Length: (\d+)/.exec(bytes.subarray(at, body).toString())?.[1];
    if (body < 4 || length === undefined || body + Number(length) > bytes.length) {
      return messages;
    }
    at = body + Number(length);
    messages.push(JSON.parse(bytes.subarray(body, at).toString()));
  }
}
