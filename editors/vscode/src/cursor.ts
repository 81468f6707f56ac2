/** The cursor as the command line counts it: lines and columns from 1, columns in characters. Pure. */
export function commandLineCursor(lineText: string, line: number, utf16Column: number): string[] {
  const characters = [...lineText.slice(0, utf16Column)].length;
  return ["--line", String(line + 1), "--column", String(characters + 1)];
}
