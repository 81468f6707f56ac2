/** The editor's settings, read when they are needed. */
import { ConfigurationTarget, type TextDocument, workspace } from "vscode";
import { languageSwitches, type Reader, serverOptions, switchedOff } from "./options";

const reader: Reader = {
  get: (name, language) =>
    workspace.getConfiguration("midword", language === undefined ? null : { languageId: language }).get(name),
  defaultOf: (name) => workspace.getConfiguration("midword").inspect(name)?.defaultValue,
  overriding: (name) => workspace.getConfiguration("midword").inspect(name)?.languageIds ?? [],
};

export function optionsForServer(): Record<string, unknown> {
  return serverOptions(reader);
}

export function stringSetting(name: "serverPath" | "pythonPath" | "model"): string {
  const value = reader.get(name);
  return typeof value === "string" ? value.trim() : "";
}

export function offSwitch(document: TextDocument, fileIsOff: boolean): ReturnType<typeof switchedOff> {
  return switchedOff(languageSwitches(reader), document.languageId, fileIsOff);
}

/**
 * Turns completions on or off: for one language if it is given, otherwise for all that have no own value.
 * A language that is to be like all the others again loses its own value.
 */
export async function toggle(language?: string): Promise<void> {
  const scope = language === undefined ? null : { languageId: language };
  const configuration = workspace.getConfiguration("midword", scope);
  const found = configuration.inspect("enabled");
  const workspaceValue = language === undefined ? found?.workspaceValue : found?.workspaceLanguageValue;
  const target = workspaceValue === undefined ? ConfigurationTarget.Global : ConfigurationTarget.Workspace;
  const value = configuration.get("enabled") === false;
  const isLikeOthers = language !== undefined && value === (reader.get("enabled") !== false);
  await configuration.update("enabled", isLikeOthers ? undefined : value, target, language !== undefined);
}

export async function setModel(name: string): Promise<void> {
  await workspace.getConfiguration("midword").update("model", name, ConfigurationTarget.Global);
}
