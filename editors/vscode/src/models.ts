/** The models of `midword models list --json`, as rows to choose from. Pure. */

export interface Model {
  readonly name: string;
  readonly licence: string;
  readonly sizeBytes: number;
  readonly fillsMiddle: boolean;
  readonly contextTokens: number;
  /** The weight types on this machine; empty if it has to be pulled. */
  readonly pulled: readonly string[];
  /** Whether the size and the checksum are known for sure. */
  readonly pinned: boolean;
}

/** Throws an Error with one sentence if `json` is not what `midword models list --json` prints. */
export function parseModels(json: string): Model[] {
  const rows: unknown = JSON.parse(json);
  if (!Array.isArray(rows)) {
    throw new Error("midword models list --json did not print a list.");
  }
  return rows.map(parseRow);
}

function parseRow(row: unknown): Model {
  const fields = (row ?? {}) as Record<string, unknown>;
  const { name, size_bytes: sizeBytes } = fields;
  if (typeof name !== "string" || typeof sizeBytes !== "number") {
    throw new Error("midword models list --json printed a model without a name or a size.");
  }
  const { pulled } = fields;
  return {
    name,
    sizeBytes,
    licence: typeof fields.licence === "string" ? fields.licence : "unknown licence",
    fillsMiddle: typeof fields.fim === "string" && fields.fim !== "none",
    contextTokens: typeof fields.context === "number" ? fields.context : 0,
    pulled: Array.isArray(pulled) ? pulled.filter((item) => typeof item === "string") : [],
    pinned: fields.pinned === true,
  };
}

/** Keys and values, vocabulary and Python, beside the weights; as `midword doctor` counts. */
const WORKING_BYTES = 500e6;

export type Fit = "fits" | "tight" | "too large";

/** Whether a model runs beside an editor: in half the memory well, in four fifths of it barely. */
export function fitOf(sizeBytes: number, memoryBytes: number): Fit {
  const share = (sizeBytes + WORKING_BYTES) / memoryBytes;
  return share <= 0.5 ? "fits" : share <= 0.8 ? "tight" : "too large";
}

export interface ModelRow {
  readonly model: Model;
  readonly label: string;
  readonly description: string;
  readonly detail: string;
}

/** What is here and what fits first, otherwise by size. */
export function modelRows(models: readonly Model[], memoryBytes: number, current: string): ModelRow[] {
  const fits = (model: Model) => fitOf(model.sizeBytes, memoryBytes) !== "too large";
  const rank = (model: Model) => (fits(model) ? 0 : 2) + (model.pulled.length > 0 ? 0 : 1);
  return [...models]
    .sort((a, b) => rank(a) - rank(b) || a.sizeBytes - b.sizeBytes)
    .map((model) => ({
      model,
      label: `${model.name === current ? "$(check) " : ""}${model.name}`,
      description: `${bytes(model.sizeBytes)} · ${model.licence}`,
      detail: detailOf(model, memoryBytes),
    }));
}

function detailOf(model: Model, memoryBytes: number): string {
  const need = bytes(model.sizeBytes + WORKING_BYTES);
  const have = bytes(memoryBytes);
  const fit = {
    fits: `fits: about ${need} of ${have} memory`,
    tight: `tight: about ${need} of ${have} memory`,
    "too large": `too large: about ${need}, this machine has ${have}`,
  }[fitOf(model.sizeBytes, memoryBytes)];
  const here = model.pulled.length > 0 ? "on this machine" : "to be downloaded";
  const middle = model.fillsMiddle ? ["uses the text behind the cursor"] : [];
  return [here, fit, ...middle].join(" · ");
}

export function bytes(count: number): string {
  return count >= 1e9 ? `${(count / 1e9).toFixed(1)} GB` : `${Math.round(count / 1e6)} MB`;
}
