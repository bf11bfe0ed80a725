import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium, type Browser } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const QUIET = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Starts Chromium without the features that the tests do not use. */
export const launchChromium = (): Promise<Browser> =>
  chromium.launch({ executablePath: findChromium(), args: QUIET });

/** The path of Chromium: CHROMIUM_BIN, or the first one on the PATH. */
function findChromium(): string {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const candidates = process.env.CHROMIUM_BIN ?? NAMES.flatMap((name) => folders.map((folder) => join(folder, name)));
  const found = [candidates].flat().find(isProgram);
  if (!found) throw new Error("there is no Chromium: run scripts/setup-browser, or name one in CHROMIUM_BIN");
  return found;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
