import { DormouseError } from "./errors.js";

/** Throws `bad_request` if `options` has a name that is not in `known`. `call` names the call in the error. */
export function checkOptions(call: string, options: object, known: readonly string[]): void {
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new DormouseError("bad_request", `${call}: unknown option "${unknown}"; the options are ${known.join(", ")}`);
}

/** Throws `bad_request` unless `value` is undefined or one of `allowed`. */
export function checkChoice(option: string, value: unknown, allowed: readonly string[]): void {
  if (value === undefined || allowed.includes(value as string)) return;
  throw new DormouseError("bad_request", `invalid ${option}: expected ${allowed.map((it) => `"${it}"`).join(" or ")}`);
}
