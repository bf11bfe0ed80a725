// The package as an application installs it: as ES modules and as CommonJS, with the oldest supported and the current TypeScript.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));
const CONSUMER = `
import { Dormouse, DormouseError, type Position, type PublishOptions, type Room, type WebSocketClass } from "dormouse-client";
declare const Socket: WebSocketClass;
const browser: WebSocketClass = WebSocket;
const client: Dormouse = new Dormouse("ws://host", { WebSocket: Socket, encoding: "json" });
const room: Room<{ text: string }> = client.join<{ text: string }>("room/a", { from: { last: 5 } });
const options: PublishOptions = { key: "k" };
room.on("event", ({ data }) => data.text.trim());
room.publish({ text: "hi" }, options).catch((error: DormouseError) => error.code === "key_expired");
export const position: Position | null = room.position;
export { browser };
`;
const COMPILER_OPTIONS = {
  module: "node16",
  target: "es2022",
  lib: ["es2022", "dom"],
  types: [],
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: false,
  noEmit: true,
};

/** An application that has the package installed. Within this folder, so that the package finds what it depends on. */
let app: string;

beforeAll(() => {
  app = mkdtempSync(join(root, "node_modules", ".test-app-"));
  const installed = join(app, "node_modules", "dormouse-client");
  mkdirSync(installed, { recursive: true });
  cpSync(join(root, "package.json"), join(installed, "package.json"));
  execFileSync(process.execPath, [join(root, "scripts", "compile.js"), join(installed, "dist")]);
  for (const extension of ["mts", "cts"]) writeFileSync(join(app, `consumer.${extension}`), CONSUMER);
  writeFileSync(join(app, "tsconfig.json"), JSON.stringify({ compilerOptions: COMPILER_OPTIONS, include: ["*.mts", "*.cts"] }));
}, 120_000);
afterAll(() => rmSync(app, { recursive: true, force: true }));

function run(...args: string[]): string {
  try {
    return execFileSync(process.execPath, args, { cwd: app, encoding: "utf8" });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(stdout + stderr);
  }
}

const PRINT = "console.log(typeof Dormouse, typeof DormouseError, new DormouseError('left', 'x').code)";

test("is loaded by require", () => {
  expect(run("-e", `const { Dormouse, DormouseError } = require("dormouse-client"); ${PRINT}`)).toBe("function function left\n");
}, 60_000);

test("is loaded by import", () => {
  const program = `import { Dormouse, DormouseError } from "dormouse-client"; ${PRINT}`;
  expect(run("--input-type=module", "-e", program)).toBe("function function left\n");
}, 60_000);

test.each(["typescript-5.4", "typescript"])("has types that compile with %s without skipLibCheck", (compiler) => {
  expect(run(join(root, "node_modules", compiler, "bin", "tsc"), "-p", "tsconfig.json")).toBe("");
}, 120_000);
