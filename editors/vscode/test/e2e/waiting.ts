/** Waiting for conditions: on a slow machine longer, on a fast one shorter, never for a fixed time. */
const LIMIT_MS = 180_000;
const LOOK_EVERY_MS = 50;

/** The first value of `look` that is neither undefined, false nor empty. Rejects when the limit has passed. */
export async function eventually<Value>(
  what: string,
  look: () => Promise<Value | undefined | false> | Value | undefined | false,
  limitMs = LIMIT_MS,
): Promise<Value> {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await look();
    if (value) {
      return value;
    }
    if (Date.now() > end) {
      throw new Error(`still not so after ${limitMs / 1000} s: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
