import { DormouseError } from "./errors.js";
import { hasLoneSurrogate, utf8Length } from "./text.js";

const OBJECT = /^[a-z0-9_-]{1,32}\/[A-Za-z0-9\-_.:~@]{1,128}$/;
/** Browsers resolve `.` and `..` in a path, so such an object has no URL. */
const ONLY_DOTS = /\/\.+$/;
const KIND = /^[A-Za-z0-9\-_.:~@]{1,32}$/;
// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const KEY_BYTES = 64;

/** Throws `bad_request` unless `name` has the form `class/name`. */
export function checkObjectName(name: string): void {
  if (!OBJECT.test(name) || ONLY_DOTS.test(name)) throw new DormouseError("bad_request", `invalid object name "${name}": expected a name such as room/lobby`);
}

/** Throws `bad_request` unless `kind` is a valid kind of event. */
export function checkKind(kind: string): void {
  if (!KIND.test(kind)) throw new DormouseError("bad_request", `invalid kind "${kind}": use 1 to 32 characters of A-Z a-z 0-9 - _ . : ~ @`);
}

/** Throws `bad_request` unless `key` is a valid key of a publish or a signal. */
export function checkKey(key: string): void {
  // A lone surrogate is not replaced here: two keys that differ must not become one.
  const bytes = utf8Length(key);
  if (bytes < 1 || bytes > KEY_BYTES || CONTROL.test(key) || hasLoneSurrogate(key)) {
    const shown = JSON.stringify(key);
    throw new DormouseError("bad_request", `invalid key ${shown}: use 1 to ${KEY_BYTES} bytes of well-formed text without control characters`);
  }
}
