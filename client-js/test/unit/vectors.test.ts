import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decode, encode } from "../../src/codec.js";
import { CLIENT_FIELDS, SERVER_FIELDS, type Fields } from "../../src/messages.js";

interface Vector {
  name: string;
  json: Record<string, unknown>;
  msgpack: string;
}

describe.each([
  ["client", CLIENT_FIELDS],
  ["server", SERVER_FIELDS],
])("vectors of the %s", (file, fields) => {
  const vectors = JSON.parse(
    readFileSync(new URL(`../../../protocol/vectors/${file}.json`, import.meta.url), "utf8"),
  ) as Vector[];
  const shapes = fields as Record<string, Fields>;

  test("are there", () => expect(vectors.length).toBeGreaterThan(10));

  test.each(vectors)("$name", ({ json, msgpack }) => {
    const fromJson = decode("json", shapes, JSON.stringify(json))!;
    const fromMsgpack = decode("msgpack", shapes, Uint8Array.from(Buffer.from(msgpack, "hex")))!;
    expect(JSON.parse(encode("json", shapes, fromMsgpack) as string)).toEqual(json);
    expect(JSON.parse(encode("json", shapes, fromJson) as string)).toEqual(json);
    expect(Buffer.from(encode("msgpack", shapes, fromMsgpack) as Uint8Array).toString("hex")).toBe(msgpack);
    expect(fromMsgpack).toEqual(fromJson);
  });
});
