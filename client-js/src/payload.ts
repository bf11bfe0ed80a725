import { BINARY_KEY, bytesOf, fromBase64, tagOf } from "./binary.js";
import { DormouseError } from "./errors.js";
import { toWellFormed } from "./text.js";

/** How deep lists and maps may nest. */
const MAX_DEPTH = 32;

/**
 * Copies a value into the form that the protocol can carry. Later changes to the original do not reach a publish that
 * still waits. The rules are those of `JSON.stringify`: `toJSON` is called, undefined fields are left out, and a
 * `Number`, `String` or `Boolean` object becomes its value. There are three differences: bytes stay bytes; half of a
 * surrogate pair becomes U+FFFD; a value that JSON would silently lose (NaN, a Map, a Blob, a Promise) is refused.
 *
 * Throws `bad_request` with the path of the value, which starts with `name`.
 */
export function toPayload(value: unknown, name = "data"): unknown {
  return new PayloadCopy(name).copy(value);
}

class PayloadCopy {
  /** The keys that lead to the current value. */
  readonly #path: (string | number)[] = [];

  constructor(private readonly name: string) {}

  copy(value: unknown): unknown {
    switch (typeof value) {
      case "boolean":
        return value;
      case "number":
        if (Number.isFinite(value)) return value;
        throw this.#refused(`${value} cannot be sent: a number must be finite`);
      case "string":
        return toWellFormed(value);
      case "object":
        return value === null ? null : this.#object(value);
      default:
        throw this.#refused(`a value of type ${typeof value} cannot be sent`);
    }
  }

  #object(value: object): unknown {
    if (!("toJSON" in value) || typeof value.toJSON !== "function" || ArrayBuffer.isView(value)) return this.#plain(value);
    // As in JSON.stringify, `toJSON` of the result is not called.
    const result: unknown = value.toJSON(String(this.#path.at(-1) ?? ""));
    return typeof result === "object" && result !== null ? this.#plain(result) : this.copy(result);
  }

  #plain(value: object): unknown {
    const tag = tagOf(value);
    switch (tag) {
      case "Object":
        this.#checkDepth();
        return this.#map(value);
      case "Array":
        this.#checkDepth();
        return this.#list(value as unknown[]);
      case "Number":
        return this.copy(Number(value));
      case "String":
        return this.copy(String(value));
      case "Boolean":
        return Boolean.prototype.valueOf.call(value);
    }
    const bytes = bytesOf(value);
    if (bytes) return bytes.slice();
    throw this.#refused(`an object of type ${tag} cannot be sent: use a plain object, a list or bytes`);
  }

  /** Undefined items and holes become null. */
  #list(value: readonly unknown[]): unknown[] {
    const out: unknown[] = [];
    for (let at = 0; at < value.length; at++) out.push(value[at] === undefined ? null : this.#field(at, value[at]));
    return out;
  }

  #map(value: object): unknown {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined);
    if (fields.length === 1 && fields[0]![0] === BINARY_KEY) return this.#binaryForm(fields[0]![1]);
    const out: Record<string, unknown> = {};
    for (const [key, field] of fields) {
      if (key === "__proto__") throw this.#refused("a map cannot have the key __proto__");
      out[toWellFormed(key)] = this.#field(key, field);
    }
    return out;
  }

  #field(key: string | number, value: unknown): unknown {
    this.#path.push(key);
    const copied = this.copy(value);
    this.#path.pop();
    return copied;
  }

  /** The server reads a map of this form as bytes wherever it stands. */
  #binaryForm(value: unknown): Uint8Array {
    const bytes = typeof value === "string" ? fromBase64(value) : undefined;
    if (!bytes) throw this.#refused(`${BINARY_KEY} must hold base64 text`);
    return bytes;
  }

  #checkDepth(): void {
    if (this.#path.length >= MAX_DEPTH) throw this.#refused(`lists and maps may nest at most ${MAX_DEPTH} deep`);
  }

  #refused(message: string): DormouseError {
    const steps = this.#path.map((key) => {
      if (typeof key === "number") return `[${key}]`;
      return /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
    });
    return new DormouseError("bad_request", `${this.name}${steps.join("")}: ${message}`);
  }
}
