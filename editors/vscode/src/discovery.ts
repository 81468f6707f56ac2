/** Where the server's command comes from: the setting, then PATH, then the private environment. */
import * as path from "node:path";

export interface Places {
  /** The user's setting `midword.serverPath`; empty if there is none. */
  readonly setting: string;
  /** The environment variable PATH. */
  readonly searchPath: string;
  readonly home: string;
  readonly platform: NodeJS.Platform;
  /** The folder of the private virtual environment, undefined if none has been made. */
  readonly privateVenv: string | undefined;
  isExecutable(file: string): boolean;
}

export interface Found {
  readonly kind: "found";
  readonly command: string;
  readonly source: "setting" | "path" | "private";
}

/** Nothing to start: one sentence, and whether installing the server is the cure. */
export interface Missing {
  readonly kind: "missing";
  readonly sentence: string;
  readonly installable: boolean;
}

export function findServer(places: Places): Found | Missing {
  if (places.setting.trim() !== "") {
    return fromSetting(places);
  }
  const onPath = findOnPath("midword", places);
  if (onPath !== undefined) {
    return { kind: "found", command: onPath, source: "path" };
  }
  const own = places.privateVenv && venvPaths(places.privateVenv, places.platform).command;
  if (own && places.isExecutable(own)) {
    return { kind: "found", command: own, source: "private" };
  }
  return { kind: "missing", sentence: "The midword server is not installed.", installable: true };
}

/** A setting that cannot be used is an error, not a reason to run something else. */
function fromSetting(places: Places): Found | Missing {
  const { isAbsolute, join } = flavour(places.platform);
  const given = places.setting.trim();
  const command = given.startsWith("~/") ? join(places.home, given.slice(2)) : given;
  if (!isAbsolute(command)) {
    const sentence = `midword.serverPath is “${given}”, but must be an absolute path.`;
    return { kind: "missing", sentence, installable: false };
  }
  if (!places.isExecutable(command)) {
    const sentence = `midword.serverPath is “${given}”, but no program is there.`;
    return { kind: "missing", sentence, installable: false };
  }
  return { kind: "found", command, source: "setting" };
}

/** The first `program` on PATH. Relative entries are left out: they would mean the opened folder. */
export function findOnPath(
  program: string,
  places: Pick<Places, "searchPath" | "platform" | "isExecutable">,
): string | undefined {
  const { delimiter, isAbsolute, join } = flavour(places.platform);
  const name = places.platform === "win32" ? `${program}.exe` : program;
  return places.searchPath
    .split(delimiter)
    .filter((folder) => isAbsolute(folder))
    .map((folder) => join(folder, name))
    .find((file) => places.isExecutable(file));
}

export interface VenvPaths {
  readonly python: string;
  readonly command: string;
}

export function venvPaths(folder: string, platform: NodeJS.Platform): VenvPaths {
  const { join } = flavour(platform);
  return platform === "win32"
    ? { python: join(folder, "Scripts", "python.exe"), command: join(folder, "Scripts", "midword.exe") }
    : { python: join(folder, "bin", "python"), command: join(folder, "bin", "midword") };
}

function flavour(platform: NodeJS.Platform): path.PlatformPath {
  return platform === "win32" ? path.win32 : path.posix;
}
