// Builds the browser bundle. With --check it only compares the bundle that the server embeds with the sources.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = new URL("../", import.meta.url);
const path = (relative) => fileURLToPath(new URL(relative, root));
const EMBEDDED = path("../server/src/http/page/dormouse.js");

const { version } = JSON.parse(readFileSync(path("package.json"), "utf8"));
const msgpack = path("node_modules/@msgpack/msgpack/");
const msgpackVersion = JSON.parse(readFileSync(`${msgpack}package.json`, "utf8")).version;
const licence = readFileSync(`${msgpack}LICENSE`, "utf8").trim().replace(/^(?=.)/gm, " * ").replace(/^$/gm, " *");

const banner = `/*!
 * dormouse-client ${version}: made from client-js by \`npm run build\`. Includes @msgpack/msgpack ${msgpackVersion}:
 *
${licence}
 */`;

const { outputFiles } = await build({
  absWorkingDir: path("."),
  entryPoints: ["src/index.ts"],
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  minify: true,
  legalComments: "none",
  banner: { js: banner },
  write: false,
});
const bundle = outputFiles[0].contents;

if (process.argv.includes("--check")) {
  if (!Buffer.from(bundle).equals(readFileSync(EMBEDDED))) {
    console.error(`${EMBEDDED} is not the bundle of the sources in client-js: run \`npm run build\` there and commit it`);
    process.exit(1);
  }
} else {
  mkdirSync(path("dist"), { recursive: true });
  for (const file of [path("dist/dormouse.js"), EMBEDDED]) writeFileSync(file, bundle);
  console.log(`dormouse.js: ${bundle.length} bytes`);
}
