import { encode as encodeMsgpack } from "@msgpack/msgpack";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { decode, encode } from "../../src/codec.js";
import { CLIENT_FIELDS, SERVER_FIELDS } from "../../src/messages.js";
import { toPayload } from "../../src/payload.js";

describe("codec", () => {
  test("an unknown type is ignored, and so are unknown fields", () => {
    expect(decode("json", SERVER_FIELDS, `{"novelty":{"id":1}}`)).toBeNull();
    expect(decode("msgpack", SERVER_FIELDS, encodeMsgpack({ toString: [1] }))).toBeNull();
    const done = decode("msgpack", SERVER_FIELDS, encodeMsgpack({ done: [5, "more"] }));
    expect(done).toEqual({ type: "done", body: { id: 5 } });
  });

  test.each(["", "[]", "null", `{"done":null}`, "{}"])("%j is no message", (text) => {
    expect(() => decode("json", SERVER_FIELDS, text)).toThrow();
  });

  test("a frame of the other encoding is no message", () => {
    expect(() => decode("json", SERVER_FIELDS, new ArrayBuffer(2))).toThrow("expected text");
    expect(() => decode("msgpack", SERVER_FIELDS, "{}")).toThrow("expected bytes");
  });

  test("a frame of another realm is read", () => {
    const bytes = [...encodeMsgpack({ done: [5] })];
    const buffer = runInNewContext(`new Uint8Array(${JSON.stringify(bytes)}).buffer`) as unknown;
    expect(buffer).not.toBeInstanceOf(ArrayBuffer);
    expect(decode("msgpack", SERVER_FIELDS, buffer)).toEqual({ type: "done", body: { id: 5 } });
  });

  test("optional fields are left out at the end and nil elsewhere", () => {
    const signal = { type: "signal", body: { object: 3, data: 1 } } as const;
    expect(encode("msgpack", CLIENT_FIELDS, signal)).toEqual(encodeMsgpack({ signal: [null, 3, 1] }));
  });

  test("a payload with the key __proto__ is read as any other, in both encodings", () => {
    const data = JSON.parse(`{"__proto__":{"admin":true},"list":[{"__proto__":1}],"x":1}`);
    const body = { object: 1, signals: [{ sender: "s", data }] };
    // The encoder writes own properties as they are, so these bytes hold the key.
    const bytes = encode("msgpack", SERVER_FIELDS, { type: "signals", body });
    expect(Buffer.from(bytes as Uint8Array).includes("__proto__")).toBe(true);
    for (const read of [
      decode("msgpack", SERVER_FIELDS, bytes),
      decode("json", SERVER_FIELDS, encode("json", SERVER_FIELDS, { type: "signals", body })),
    ]) {
      expect(JSON.stringify(read!.body)).toBe(JSON.stringify(body));
    }
    expect(({} as Record<string, unknown>).admin).toBeUndefined();
  });
});

describe("payload", () => {
  test("is a copy", () => {
    const data = { list: [1], bytes: new Uint8Array([1]) };
    const copy = toPayload(data);
    data.list.push(2);
    data.bytes[0] = 9;
    expect(copy).toEqual({ list: [1], bytes: new Uint8Array([1]) });
  });

  test("follows JSON, but keeps bytes", () => {
    const time = new Date(0);
    expect(toPayload({ time, gone: undefined, list: [undefined], buffer: Buffer.from("hi"), raw: new ArrayBuffer(1) })).toEqual({
      time: time.toJSON(),
      list: [null],
      buffer: new Uint8Array([104, 105]),
      raw: new Uint8Array(1),
    });
    expect(toPayload({ $binary: "AAH/gA==" })).toEqual(new Uint8Array([0, 1, 255, 128]));
  });

  test.each([
    ["nothing", undefined],
    ["NaN", Number.NaN],
    ["a bigint", 1n],
    ["a function", () => 1],
    ["a Map", { map: new Map() }],
    ["bytes that are no base64", { $binary: "?" }],
    ["__proto__", JSON.parse(`{"__proto__":1}`)],
    ["33 lists in each other", nested(33)],
  ])("refuses %s", (_name, value) => {
    expect(() => toPayload(value)).toThrow(expect.objectContaining({ code: "bad_request" }));
  });

  test.each([
    ["a Blob", { file: new Blob(["x"]) }, "data.file"],
    ["a Promise", [1, Promise.resolve()], "data[1]"],
    ["a SharedArrayBuffer", { "a b": [new SharedArrayBuffer(1)] }, 'data["a b"][0]'],
    ["a Map", { map: new Map() }, "data.map"],
    ["a Set of another realm", { set: runInNewContext("new Set()") as unknown }, "data.set"],
    ["a RegExp", /x/, "data"],
    ["an Error", { error: new Error("x") }, "data.error"],
    ["NaN in a Number object", { n: new Number(Number.NaN) }, "data.n"],
    ["a bigint object", { n: Object(1n) as unknown }, "data.n"],
    ["a symbol", { s: Symbol("x") }, "data.s"],
    ["an object with an own toJSON that returns the object", { x: ownToJson() }, "data.x.toJSON"],
    ["a cycle", cycle(), "data.next.next"],
  ])("refuses %s and names its path", (_name, value, path) => {
    const error = expect.objectContaining({ code: "bad_request", message: expect.stringContaining(path) as string }) as Error;
    expect(() => toPayload(value)).toThrow(error);
  });

  test("takes the values of Number, String and Boolean objects", () => {
    expect(toPayload([new Number(1), new String("a\ud83d"), new Boolean(false)])).toEqual([1, "a\ufffd", false]);
  });

  test("does not call toJSON of what toJSON returned", () => {
    class Money {
      constructor(readonly cents: number) {}
      toJSON(): unknown {
        return this;
      }
    }
    expect(toPayload({ price: new Money(5) })).toEqual({ price: { cents: 5 } });
    expect(toPayload({ toJSON: () => new Uint8Array([1]) })).toEqual(new Uint8Array([1]));
  });

  test("replaces half of a surrogate pair with U+FFFD, in values and in keys", () => {
    const data = { "k\udc00": ["a\ud83d", "🐭", "\ud83d\ud83d\udc2d"] };
    expect(toPayload(data)).toEqual({ "k\ufffd": ["a\ufffd", "🐭", "\ufffd🐭"] });
  });

  test("takes bytes and containers of another realm", () => {
    const foreign = runInNewContext("({ buffer: new Uint8Array([1, 2]).buffer, view: new Uint8Array([3]), list: [{ x: new Number(1) }] })") as unknown;
    expect(toPayload(foreign)).toEqual({ buffer: new Uint8Array([1, 2]), view: new Uint8Array([3]), list: [{ x: 1 }] });
  });

  test("takes 32 lists in each other", () => expect(toPayload(nested(32))).toEqual(nested(32)));
});

function nested(depth: number): unknown {
  return depth === 0 ? 1 : [nested(depth - 1)];
}

function ownToJson(): unknown {
  const value = { a: 1, toJSON: () => value };
  return value;
}

function cycle(): unknown {
  const value: { next?: unknown } = {};
  value.next = value;
  return value;
}
