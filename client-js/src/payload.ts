import { BINARY_KEY, fromBase64 } from "./binary.js";
import { DormouseError } from "./errors.js";

/** How deep lists and maps may nest. */
const MAX_DEPTH = 32;

/**
 * A copy of what the application wants to send, as the protocol can carry it, so that later changes to the original
 * do not reach a publish that still waits. It follows `JSON.stringify` (`toJSON` is called, undefined fields are left
 * out), except that bytes stay bytes and that a number which is not finite is refused instead of becoming null.
 * Throws `bad_request` where there is no such copy.
 */
export function toPayload(value: unknown): unknown {
  return copy(value, 0);
}

function copy(value: unknown, depth: number): unknown {
  switch (typeof value) {
    case "boolean":
      return value;
    case "number":
      if (Number.isFinite(value)) return value;
      throw refused("a number must be finite");
    case "string":
      return text(value);
    case "object":
      return value === null ? null : copyObject(value, depth);
    default:
      throw refused(`a value of type ${typeof value} can't be sent`);
  }
}

function copyObject(value: object, depth: number): unknown {
  if (value instanceof ArrayBuffer) return new Uint8Array(value.slice(0));
  if (ArrayBuffer.isView(value)) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
  }
  if ("toJSON" in value && typeof value.toJSON === "function") return copy(value.toJSON(), depth);
  if (depth === MAX_DEPTH) throw refused(`lists and maps may nest ${MAX_DEPTH} deep`);
  if (Array.isArray(value)) return value.map((item: unknown) => (item === undefined ? null : copy(item, depth + 1)));
  if (value instanceof Map || value instanceof Set) throw refused("use a plain object or a list");

  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  if (fields.length === 1 && fields[0]![0] === BINARY_KEY) return binaryForm(fields[0]![1]);
  const out: Record<string, unknown> = {};
  for (const [key, field] of fields) {
    if (key === "__proto__") throw refused("a map can't have the key __proto__");
    out[text(key)] = copy(field, depth + 1);
  }
  return out;
}

/** The server takes this form as bytes wherever it stands. */
function binaryForm(value: unknown): Uint8Array {
  const bytes = typeof value === "string" ? fromBase64(value) : undefined;
  if (!bytes) throw refused(`${BINARY_KEY} must hold base64 text`);
  return bytes;
}

function text(value: string): string {
  // Half of a surrogate pair has no UTF-8. Older engines lack the check; there the server refuses.
  if (value.isWellFormed?.() === false) throw refused("text must be well-formed Unicode");
  return value;
}

function refused(message: string): DormouseError {
  return new DormouseError("bad_request", message);
}
