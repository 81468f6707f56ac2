// Bundles the extension into dist/extension.js; with --tests all tests into build/.
import { readdirSync, rmSync } from "node:fs";
import { build } from "esbuild";

const shared = { bundle: true, platform: "node", target: "node20", format: "cjs" };

if (process.argv.includes("--tests")) {
  // A test that is no more must not be run.
  for (const kind of ["unit", "e2e"]) {
    rmSync(`build/${kind}`, { recursive: true, force: true });
  }
  await build({
    ...shared,
    entryPoints: ["unit", "e2e"].flatMap((kind) =>
      readdirSync(`test/${kind}`)
        .filter((name) => name.endsWith(".test.ts"))
        .map((name) => `test/${kind}/${name}`),
    ),
    outbase: "test",
    outdir: "build",
    outExtension: { ".js": ".cjs" },
    external: ["playwright-core"],
    sourcemap: "inline",
  });
} else {
  await build({
    ...shared,
    entryPoints: ["src/extension.ts"],
    outfile: "dist/extension.js",
    external: ["vscode"],
    minify: true,
  });
}
