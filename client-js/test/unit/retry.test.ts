import { describe, expect, test } from "vitest";
import type { Room } from "../../src/index.js";
import { client, server } from "../support/fake.js";
import { until } from "../support/until.js";

const NAME = "room/lobby";

/** A room that is live after `before` events, and whose next publish stays without an answer. */
async function withoutAnswer(before: number, isStored: boolean): Promise<{ it: ReturnType<typeof client>; room: Room }> {
  for (let n = 0; n < before; n++) server.append(NAME, "before");
  const it = client();
  const room = it.join(NAME);
  await until("live", () => room.state === "live");
  server.script = (message, connection) => {
    if (message.type !== "publish" || connection !== server.connections[0]) return false;
    connection.members.clear();
    if (isStored) server.append(NAME, message.body.data, { sender: connection.session, key: message.body.key! });
    return true;
  };
  return { it, room };
}

/** Cuts the connection after the publish was sent. */
async function cutAfterPublish(): Promise<void> {
  await until("it was sent", () => server.connections[0]!.of("publish").length > 0);
  server.connections[0]!.cut();
}

describe("a publish without an answer", () => {
  test("is acknowledged by its own event among those that were missed, however many they are", async () => {
    server.keyWindow = 10;
    const { it, room } = await withoutAnswer(3, true);
    const published = room.publish("mine");
    const later = room.publish("later");
    await cutAfterPublish();
    // The second was not stored.
    server.logs.get(NAME)!.events = server.logs.get(NAME)!.events.filter(({ data }) => data !== "later");
    for (let n = 0; n < 50; n++) server.append(NAME, "others");
    const event = server.log(NAME).events[3]!;
    expect(await published).toEqual({ offset: 4, time: event.time, duplicate: true });
    // It was not among them, so that the server need not remember the keys of before.
    expect(await later).toMatchObject({ offset: 55, duplicate: false });
    expect(server.last.of("publish").map(({ data, after }) => [data, after])).toEqual([["later", 54]]);
    expect(it.errors).toEqual([]);
  });

  test("that was not stored is sent again, with the offset up to which the log does not have it", async () => {
    const { room } = await withoutAnswer(3, false);
    const published = room.publish("mine");
    await cutAfterPublish();
    server.append(NAME, "others");
    expect(await published).toMatchObject({ offset: 5, duplicate: false });
    expect(server.connections[0]!.of("publish")[0]!.after).toBeUndefined();
    expect(server.last.of("publish")[0]!.after).toBe(4);
    await room.publish("next");
    expect(server.last.of("publish")[1]!.after).toBeUndefined();
  });

  test("is searched for after each broken connection", async () => {
    const { room } = await withoutAnswer(3, false);
    server.script = ({ type }, connection) => {
      if (type !== "publish" || server.connections.length > 3) return false;
      server.append(NAME, "others");
      connection.cut();
      return true;
    };
    expect(await room.publish("mine")).toMatchObject({ offset: 7 });
    expect(server.connections.map((connection) => connection.of("publish")[0]!.after)).toEqual([undefined, 4, 5, 6]);
  });

  test("is not taken for the event of another sender with the same key", async () => {
    const { room } = await withoutAnswer(0, false);
    const published = room.publish("mine", { key: "k" });
    await cutAfterPublish();
    server.append(NAME, "theirs", { key: "k" });
    expect(await published).toMatchObject({ offset: 2, duplicate: false });
  });

  test("rejects with key_expired where the server no longer remembers, and says how to find out", async () => {
    server.keyWindow = 10;
    const { room } = await withoutAnswer(3, false);
    const published = room.publish("mine", { key: "k" });
    await cutAfterPublish();
    // The client does not see all of these events.
    server.log(NAME).trimmed = 30;
    server.log(NAME).events = [];
    for (let n = 0; n < 50; n++) server.append(NAME, "others");
    const message = expect.stringMatching(/key "k" may or may not have been stored.*history\(\{ after: 3 \}\)/) as string;
    await expect(published).rejects.toMatchObject({ code: "key_expired", message });
    await expect(room.publish("next")).resolves.toMatchObject({ offset: 81 });
  });

  test("counts from the beginning of another log", async () => {
    const { room } = await withoutAnswer(3, false);
    const published = room.publish("mine");
    await cutAfterPublish();
    const log = server.log(NAME);
    log.epoch = 8;
    log.events = [];
    server.append(NAME, "others");
    expect(await published).toMatchObject({ offset: 2 });
    expect(server.last.of("publish")[0]!.after).toBe(0);
  });

  test("does not wait for the missed events after a reset", async () => {
    const { room } = await withoutAnswer(3, false);
    const published = room.publish("mine");
    server.script = (message, connection) => {
      if (message.type !== "join" || connection === server.connections[0]) return false;
      const { id } = message.body;
      const joined = { id, object: 1, epoch: 7, head: 900, from: 800, resumed: false, member: 9, reset: "trimmed" } as const;
      connection.send({ type: "joined", body: joined });
      return true;
    };
    server.connections[0]!.cut();
    expect(await published).toMatchObject({ offset: 4 });
    expect(server.last.of("publish")[0]!.after).toBe(3);
  });
});

describe("a publish that is refused for now", () => {
  test.each([
    ["overloaded", undefined],
    ["unavailable", 2],
  ] as const)("as %s is sent again with after = %s", async (code, after) => {
    const { room } = await withoutAnswer(2, false);
    let refusals = 1;
    server.script = ({ type, body }, connection) => {
      if (type !== "publish" || refusals-- <= 0) return false;
      connection.send({ type: "error", body: { id: body.id, code, message: "later" } });
      return true;
    };
    await room.publish("mine");
    expect(server.last.of("publish").map((publish) => publish.after)).toEqual([undefined, after]);
  });
});

describe("publish and leave in one go", () => {
  test("the answer to the publish decides, also where that to the leave comes first", async () => {
    const { it, room } = await withoutAnswer(0, false);
    server.script = (message, connection) => {
      if (message.type !== "publish") return false;
      setImmediate(() => {
        expect(connection.of("leave").length).toBe(1);
        server.answer(message, connection);
      });
      return true;
    };
    const published = room.publish("mine");
    const left = room.leave();
    await expect(published).resolves.toMatchObject({ offset: 1 });
    await left;
    await it.join(NAME).publish("next");
    expect(server.last.received.map(({ type }) => type)).toEqual(["join", "publish", "leave", "join", "publish"]);
  });

  test("a refusal that would be tried again rejects", async () => {
    const { room } = await withoutAnswer(0, false);
    server.script = ({ type, body }, connection) => {
      if (type !== "publish") return false;
      setImmediate(() => connection.send({ type: "error", body: { id: body.id, code: "overloaded", message: "later" } }));
      return true;
    };
    const published = room.publish("mine");
    const left = room.leave();
    await expect(published).rejects.toMatchObject({ code: "overloaded" });
    await left;
  });

  test("what is given up is no unhandled rejection, on leave and on disconnect", async () => {
    const unhandled: unknown[] = [];
    const listener = (error: unknown): void => void unhandled.push(error);
    const others = process.listeners("unhandledRejection");
    process.removeAllListeners("unhandledRejection");
    process.on("unhandledRejection", listener);
    try {
      const it = client();
      const left = it.join(NAME);
      void left.publish("unsent");
      void left.presence("unsent");
      void left.leave();
      void it.join("room/other").publish("unsent");
      it.disconnect();
      // The event comes after the microtasks of this turn.
      await new Promise((resolve) => setImmediate(resolve));
      expect(unhandled).toEqual([]);
    } finally {
      process.off("unhandledRejection", listener);
      for (const other of others) process.on("unhandledRejection", other);
    }
  });
});

describe("a request beyond a rate limit", () => {
  test("is sent again when the server says, and not before", async () => {
    server.append(NAME, "before");
    const it = client();
    const room = it.join(NAME);
    await until("live", () => room.state === "live");
    const asked: number[] = [];
    server.script = ({ type, body }, connection) => {
      if (type !== "publish" && type !== "history") return false;
      asked.push(performance.now());
      if (asked.length % 2 === 0) return false;
      connection.send({ type: "error", body: { id: body.id, code: "rate_limited", message: "wait 150 ms", retry_after_ms: 150 } });
      return true;
    };
    expect(await room.publish("mine")).toMatchObject({ offset: 2, duplicate: false });
    expect((await room.history()).events).toHaveLength(2);
    expect(asked).toHaveLength(4);
    for (const at of [1, 3]) expect(asked[at]! - asked[at - 1]!).toBeGreaterThanOrEqual(149);
    expect(it.errors).toEqual([]);
  });
});
