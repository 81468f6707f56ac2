/** What a line of pip or of `midword models pull` says about how far it is. Pure. */

const STEPS: ReadonlyArray<readonly [RegExp, (found: RegExpExecArray) => string]> = [
  [/^\[(\d+)\/(\d+)\]/, (found) => `compiling llama.cpp, ${found[1]} of ${found[2]} files`],
  [/^\[ *(\d+)%\]/, (found) => `compiling llama.cpp, ${found[1]} %`],
  [/^Collecting (\S+)/, (found) => `looking for ${found[1]}`],
  [/^Downloading (\S+)/, (found) => `downloading ${found[1]?.split("/").at(-1)}`],
  [/^Building wheel for (\S+)/, (found) => `building ${found[1]}`],
  [/^Installing collected packages/, () => "installing packages"],
];

/** The step that a line of verbose pip begins, undefined if it begins none. */
export function pipStep(line: string): string | undefined {
  for (const [pattern, text] of STEPS) {
    const found = pattern.exec(line.trim());
    if (found) {
      return text(found);
    }
  }
  return undefined;
}

/** 0 to 100 from a line such as `downloading: 41 of 98 MB`, undefined if it says nothing of the kind. */
export function pullPercent(line: string): number | undefined {
  const found = /([\d,]+) of ([\d,]+) MB/.exec(line);
  if (!found) {
    return undefined;
  }
  const [done, total] = [found[1], found[2]].map((number) => Number(number?.replaceAll(",", "")));
  return done !== undefined && total ? Math.min(100, (100 * done) / total) : undefined;
}
