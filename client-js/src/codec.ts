import { Decoder, Encoder } from "@msgpack/msgpack";
import { BINARY_KEY, bytesOf, fromBase64, tagOf, toBase64 } from "./binary.js";
import type { Fields, Message, Shape } from "./messages.js";
import { utf8Length } from "./text.js";

/** The format of messages on the wire. */
export type Encoding = "msgpack" | "json";

/** The WebSocket subprotocol of an encoding. */
export function subprotocol(encoding: Encoding): string {
  return `dormouse.v1.${encoding}`;
}

/** Encodes a message as bytes (MessagePack) or text (JSON). `fields` are those of its direction. */
export function encode<Bodies>(
  encoding: Encoding,
  fields: Record<keyof Bodies, Fields>,
  { type, body }: Message<Bodies>,
): Uint8Array | string {
  if (encoding === "json") return JSON.stringify({ [type]: body }, bytesAsBase64);
  return encoder.encode({ [type]: pack(fields[type], body) });
}

/** Decodes a message. Returns null for an unknown type; throws if the data is not a message. */
export function decode<Bodies>(
  encoding: Encoding,
  fields: Record<keyof Bodies, Fields>,
  data: unknown,
): Message<Bodies> | null {
  const map = encoding === "json" ? decodeJson(data) : decodeMsgpack(data);
  if (typeof map !== "object" || map === null) throw new TypeError("a message must be a map");
  const [type, body] = Object.entries(map)[0] ?? [];
  if (type === undefined) throw new TypeError("a message must have a type");
  if (!Object.hasOwn(fields, type)) return null;
  if (typeof body !== "object" || body === null) throw new TypeError(`${type} must have a body`);
  const known = encoding === "json" ? body : unpack(fields[type as keyof Bodies], body);
  return { type, body: known } as Message<Bodies>;
}

/** The length of an encoded message in bytes. */
export function byteLength(encoded: Uint8Array | string): number {
  return typeof encoded === "string" ? utf8Length(encoded) : encoded.length;
}

/** The length of a payload in MessagePack, in bytes. */
export function packedLength(payload: unknown): number {
  return encoder.encodeSharedRef(payload).length;
}

function pack(shape: Shape, value: unknown): unknown {
  if (isPlain(shape) || typeof value !== "object" || value === null) return value;
  if (isList(shape)) return (value as unknown[]).map((item) => pack(shape[0], item));
  if (isOneOf(shape)) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, pack(shape.oneOf[name] ?? null, inner)]));
  }
  const array = Object.entries(shape).map(([field, inner]) => pack(inner, (value as Record<string, unknown>)[field]));
  while (array.length > 0 && array.at(-1) === undefined) array.pop();
  return array.map((item) => (item === undefined ? null : item));
}

function unpack(shape: Shape, value: unknown): unknown {
  if (isPlain(shape) || typeof value !== "object" || value === null) return value;
  if (isList(shape)) return (value as unknown[]).map((item) => unpack(shape[0], item));
  if (isOneOf(shape)) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, unpack(shape.oneOf[name] ?? null, inner)]));
  }
  if (!Array.isArray(value)) throw new TypeError("a record must be an array");
  const record: Record<string, unknown> = {};
  for (const [at, [field, inner]] of Object.entries(shape).slice(0, value.length).entries()) {
    if (inner !== "optional" || value[at] !== null) record[field] = unpack(inner, value[at]);
  }
  return record;
}

function isPlain(shape: Shape): shape is null | "optional" {
  return shape === null || shape === "optional";
}

function isList(shape: Exclude<Shape, null | "optional">): shape is readonly [Fields] {
  return Array.isArray(shape);
}

function isOneOf(shape: Fields | { readonly oneOf: Fields }): shape is { readonly oneOf: Fields } {
  return "oneOf" in shape;
}

function bytesAsBase64(_key: string, value: unknown): unknown {
  const bytes = ArrayBuffer.isView(value) ? bytesOf(value) : undefined;
  return bytes ? { [BINARY_KEY]: toBase64(bytes) } : value;
}

function decodeJson(data: unknown): unknown {
  if (typeof data !== "string") throw new TypeError(`expected text, received ${tagOf(data)}`);
  // A reviver makes parsing several times slower, and few messages contain bytes.
  return data.includes(BINARY_KEY) ? JSON.parse(data, base64AsBytes) : JSON.parse(data);
}

function base64AsBytes(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || !(BINARY_KEY in value)) return value;
  const text = value[BINARY_KEY];
  if (typeof text !== "string" || Object.keys(value).length !== 1) return value;
  return fromBase64(text) ?? value;
}

// The decoder refuses a message with a key `__proto__`: one publish with this key would disconnect a whole room.
// Therefore the key is decoded under another name and then restored as an own property, as JSON.parse does.
const PROTO = "__proto__";
const RENAMED_PROTO = `${PROTO}\u{ffff}`;
let sawProto = false;
const utf8 = new TextDecoder();

const encoder = new Encoder({ ignoreUndefined: true });
const decoder = new Decoder({
  keyDecoder: {
    canBeCached: (length) => length === PROTO.length,
    decode(bytes, start, length) {
      const key = utf8.decode(bytes.subarray(start, start + length));
      if (key !== PROTO) return key;
      sawProto = true;
      return RENAMED_PROTO;
    },
  },
});

function decodeMsgpack(data: unknown): unknown {
  const bytes = bytesOf(data);
  if (!bytes) throw new TypeError(`expected bytes, received ${typeof data === "string" ? "text" : tagOf(data)}`);
  sawProto = false;
  const value = decoder.decode(bytes);
  return sawProto ? withProto(value) : value;
}

function withProto(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withProto);
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  const out = {};
  for (const [key, field] of Object.entries(value)) {
    const name = key === RENAMED_PROTO ? PROTO : key;
    Object.defineProperty(out, name, { value: withProto(field), enumerable: true, configurable: true, writable: true });
  }
  return out;
}
