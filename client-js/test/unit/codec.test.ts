import { encode as encodeMsgpack } from "@msgpack/msgpack";
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
    ["half a surrogate pair", "\ud800"],
    ["bytes that are no base64", { $binary: "?" }],
    ["__proto__", JSON.parse(`{"__proto__":1}`)],
    ["33 lists in each other", nested(33)],
  ])("refuses %s", (_name, value) => {
    expect(() => toPayload(value)).toThrow(expect.objectContaining({ code: "bad_request" }));
  });

  test("takes 32 lists in each other", () => expect(toPayload(nested(32))).toEqual(nested(32)));
});

function nested(depth: number): unknown {
  return depth === 0 ? 1 : [nested(depth - 1)];
}
