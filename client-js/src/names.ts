import { DormouseError } from "./errors.js";

const OBJECT = /^[a-z0-9_-]{1,32}\/[A-Za-z0-9\-_.:~@]{1,128}$/;
const KIND = /^[A-Za-z0-9\-_.:~@]{1,32}$/;
// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const KEY_BYTES = 64;

/** Throws `bad_request` where `name` is not `class/name`. */
export function checkObjectName(name: string): void {
  if (!OBJECT.test(name)) throw new DormouseError("bad_request", `"${name}" is not a name like room/lobby`);
}

/** Throws `bad_request` where `kind` can't be the kind of an event. */
export function checkKind(kind: string): void {
  if (!KIND.test(kind)) throw new DormouseError("bad_request", `"${kind}" can't be the kind of an event`);
}

/** Throws `bad_request` where `key` can't be the key of a publish or a signal. */
export function checkKey(key: string): void {
  const bytes = new TextEncoder().encode(key).length;
  if (bytes < 1 || bytes > KEY_BYTES || CONTROL.test(key) || key.isWellFormed?.() === false) {
    throw new DormouseError("bad_request", `a key is 1 to ${KEY_BYTES} bytes of text without control characters`);
  }
}
