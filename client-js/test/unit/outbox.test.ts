import { expect, test } from "vitest";
import { Deferred } from "../../src/deferred.js";
import { Outbox, type Published, type Unacknowledged } from "../../src/outbox.js";

function filled(...keys: string[]): { outbox: Outbox; entries: Unacknowledged[] } {
  const outbox = new Outbox(4);
  const entries = keys.map((key) => ({ key, kind: "message", data: null, absentUntil: null, result: new Deferred<Published>() }));
  for (const entry of entries) outbox.add(entry);
  return { outbox, entries };
}

function take(outbox: Outbox): string[] {
  const keys: string[] = [];
  for (let entry = outbox.next(); entry; entry = outbox.next()) keys.push(entry.key);
  return keys;
}

test("gives the entries in order, each once", () => {
  const { outbox } = filled("a", "b", "c");
  expect(take(outbox)).toEqual(["a", "b", "c"]);
  expect(take(outbox)).toEqual([]);
});

test("is bounded by what is not settled, sent or not", () => {
  const { outbox, entries } = filled("a", "b", "c", "d");
  outbox.next();
  expect(() => outbox.add(entries[0]!)).toThrow(expect.objectContaining({ code: "outbox_full" }));
  outbox.settle(entries[0]!);
  outbox.add(entries[0]!);
});

test("after a rewind, what was not settled goes first, in its order", () => {
  const { outbox, entries } = filled("a", "b", "c", "d");
  outbox.next();
  outbox.next();
  outbox.next();
  outbox.settle(entries[1]!);
  outbox.rewind();
  expect(take(outbox)).toEqual(["a", "c", "d"]);
});

test("after a refusal nothing is sent until everything is answered, and what was refused goes first", () => {
  const { outbox, entries } = filled("a", "b", "c", "d");
  outbox.next();
  outbox.next();
  outbox.next();
  outbox.settle(entries[0]!);
  outbox.refuse(entries[1]!);
  expect(outbox.stalled).toBe(false);
  expect(outbox.next()).toBeUndefined();
  outbox.refuse(entries[2]!);
  expect(outbox.stalled).toBe(true);
  outbox.rewind();
  expect(take(outbox)).toEqual(["b", "c", "d"]);
});

test("what is refused for good while others are refused for now does not block them", () => {
  const { outbox, entries } = filled("a", "b");
  take(outbox);
  outbox.refuse(entries[0]!);
  outbox.settle(entries[1]!);
  expect(outbox.stalled).toBe(true);
});
