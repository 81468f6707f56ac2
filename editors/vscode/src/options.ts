/** The settings of the editor → the options of the server. Pure. */

/** Reads one setting below `midword.`, for a language if one is given. */
export interface Reader {
  get(name: string, language?: string): unknown;
  /** The value that is in force if nobody sets one. */
  defaultOf(name: string): unknown;
  /** The languages that have a value of their own. */
  overriding(name: string): readonly string[];
}

/** Sent if they are not the default, which the server has too: an older server need not know them all. */
const SENT_AS_THEY_ARE = [
  "exclude",
  "model",
  "maxTokens",
  "maxLines",
  "alternatives",
  "deadlineMs",
  "debounceMs",
  "workAhead",
  "powerSaving",
  "suffixScoring",
  "relatedFiles",
  "statistics",
] as const;

export function serverOptions(reader: Reader): Record<string, unknown> {
  const languages = languageSwitches(reader);
  return {
    enabled: Object.values(languages).includes(true),
    languages,
    ...Object.fromEntries(
      SENT_AS_THEY_ARE.map((name) => [name, reader.get(name)] as const).filter(
        ([name, value]) => JSON.stringify(value) !== JSON.stringify(reader.defaultOf(name)),
      ),
    ),
    reportUsage: reader.get("logUsage") === true,
    reportStatus: true,
  };
}

/** Language id → whether it is completed; `*` is for all the others. */
export function languageSwitches(reader: Reader): Record<string, boolean> {
  const entries = reader
    .overriding("enabled")
    .map((language) => [language, reader.get("enabled", language) !== false] as const);
  return { ...Object.fromEntries(entries), "*": reader.get("enabled") !== false };
}

/** Which switch is off for a document, the widest first. */
export function switchedOff(
  switches: Readonly<Record<string, boolean>>,
  language: string,
  fileIsOff: boolean,
): "everywhere" | "language" | "file" | undefined {
  if (!Object.values(switches).includes(true)) {
    return "everywhere";
  }
  if (!(switches[language] ?? switches["*"])) {
    return language in switches ? "language" : "everywhere";
  }
  return fileIsOff ? "file" : undefined;
}
