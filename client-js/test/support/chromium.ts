import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];

/** The path of a Chromium: CHROMIUM_BIN, or the first that is found on the PATH. */
export function findChromium(): string {
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
