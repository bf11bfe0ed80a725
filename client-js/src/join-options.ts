import { DormouseError } from "./errors.js";
import type { From } from "./messages.js";
import { checkChoice, checkOptions } from "./options.js";
import { WATCHES, type Watch } from "./roster-subscription.js";

/** How to join a room. */
export interface JoinOptions<Presence = unknown> {
  /** Where in the log to start; `"now"` by default. */
  readonly from?: From;
  /** The data of this member in the roster. Without it, or with null, the member is not in the roster. */
  readonly presence?: Presence | null;
  /** What to receive of the roster; `"roster"` by default if there is a `presence`, otherwise `"none"`. */
  readonly watch?: Watch;
}

/** Throws `bad_request` for an unknown option or an invalid value. */
export function checkJoinOptions(options: JoinOptions): void {
  checkOptions("join", options, ["from", "presence", "watch"]);
  checkFrom(options.from);
  checkChoice("watch", options.watch, WATCHES);
}

/** What to receive of the roster. */
export function watchOf({ presence = null, watch = presence === null ? "none" : "roster" }: JoinOptions): Watch {
  return watch;
}

function checkFrom(from: From | undefined): void {
  if (from === undefined || from === "now" || from === "all") return;
  if (typeof from === "object" && from !== null && Object.keys(from).length === 1) {
    if ("last" in from && isCount(from.last)) return;
    if ("after" in from && isCount(from.after?.epoch) && isCount(from.after?.offset)) return;
  }
  throw new DormouseError("bad_request", 'invalid from: expected "now", "all", { last: n } or { after: { epoch, offset } }');
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
