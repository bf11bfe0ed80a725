// Compiles the package into a folder (`dist` by default): ES modules, the same as CommonJS in `cjs`, and types for both.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const out = process.argv[2] ?? join(root, "dist");
const cjs = join(out, "cjs");

// Not by the name `tsc`, which belongs to either of the two installed versions.
const tsc = (...options) => execFileSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), ...options], { cwd: root, stdio: "inherit" });

tsc("-p", "tsconfig.build.json", "--outDir", out);
tsc("-p", "tsconfig.cjs.json", "--outDir", cjs);
// The folder above belongs to a package of the type `module`.
writeFileSync(join(cjs, "package.json"), `${JSON.stringify({ type: "commonjs" })}\n`);
