import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { Dormouse, type Room, type RoomEvent, type RoomState } from "../../src/index.js";
import { client, clients, fresh, proxy, server } from "../support/real.js";
import { until } from "../support/until.js";

function record<Data>(room: Room<Data>): RoomEvent<Data>[] {
  const events: RoomEvent<Data>[] = [];
  room.on("event", (event) => events.push(event));
  return events;
}

const live = (...rooms: { readonly state: RoomState }[]): Promise<void> =>
  until("every room is live", () => rooms.every(({ state }) => state === "live"));

const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n + 1);

describe("two encodings in one room", () => {
  test("see the same events, with every kind of value", async () => {
    const name = fresh();
    const json = client({ encoding: "json" });
    const msgpack = client({ encoding: "msgpack" });
    const [a, b] = [json.join(name), msgpack.join(name)];
    const [fromJson, fromMsgpack] = [record(a), record(b)];
    await live(a, b);
    const data = {
      text: "héllo 🐭",
      numbers: [0, -1, 255, 65_536, 2 ** 40, Number.MAX_SAFE_INTEGER, 1.5, -1e100],
      bytes: new Uint8Array([0, 1, 255]),
      nothing: null,
      yes: true,
      deep: { list: [[], {}, [{ x: 1 }]] },
    };
    const first = await a.publish(data, { kind: "from-json" });
    const second = await b.publish(data, { kind: "from-msgpack" });
    expect([first.offset, second.offset, first.duplicate]).toEqual([1, 2, false]);
    await until("both came to both", () => fromJson.length === 2 && fromMsgpack.length === 2);
    expect(fromJson).toEqual(fromMsgpack);
    expect(fromJson.map(({ kind, sender, data }) => ({ kind, sender, data }))).toEqual([
      { kind: "from-json", sender: json.session!.id, data },
      { kind: "from-msgpack", sender: msgpack.session!.id, data },
    ]);
  });

  test("signals reach every member and are not stored", async () => {
    const name = fresh();
    const [a, b] = [client({ encoding: "json" }).join(name), client().join(name)];
    const signals: unknown[] = [];
    a.on("signal", ({ data, key }) => signals.push(["a", data, key]));
    b.on("signal", ({ data, key }) => signals.push(["b", data, key]));
    await live(a, b);
    b.signal({ x: 1, bytes: new Uint8Array([7]) }, { key: "cursor" });
    await until("both got it", () => signals.length === 2);
    const data = { x: 1, bytes: new Uint8Array([7]) };
    expect(signals).toHaveLength(2);
    expect(signals).toContainEqual(["a", data, "cursor"]);
    expect(signals).toContainEqual(["b", data, "cursor"]);
    expect((await a.history()).events).toEqual([]);
  });
});

describe("where a member starts", () => {
  test("now, with all, with the last, or after a position", async () => {
    const name = fresh();
    const writer = client().join<number>(name);
    await Promise.all(numbers(5).map((n) => writer.publish(n)));
    const { epoch } = writer.position!;
    for (const [from, expected] of [
      ["now", []],
      ["all", [1, 2, 3, 4, 5]],
      [{ last: 2 }, [4, 5]],
      [{ last: 50 }, [1, 2, 3, 4, 5]],
      [{ after: { epoch, offset: 3 } }, [4, 5]],
    ] as const) {
      const room = client().join<number>(name, { from });
      const events = record(room);
      await live(room);
      expect(events.map(({ data }) => data)).toEqual(expected);
      expect(room.position).toEqual({ epoch, offset: 5 });
    }
  });

  test.each([
    ["other_epoch", 1, 0],
    ["ahead", 0, 5],
  ] as const)("after a position that can't be continued: reset %s, and the whole log", async (reason, epoch, offset) => {
    const name = fresh();
    const writer = client().join<string>(name);
    const written = record(writer);
    await writer.publish("a");
    // The acknowledgement may arrive before the event.
    await until("it came", () => written.length === 1);
    const position = writer.position!;
    const after = { epoch: (position.epoch + epoch) % 2 ** 32, offset: position.offset + offset };
    const room = client().join<string>(name, { from: { after } });
    const seen: string[] = [];
    room.on("reset", (reset) => seen.push(reset.reason));
    room.on("event", ({ data }) => seen.push(data));
    await live(room);
    expect(seen).toEqual([reason, "a"]);
    expect(room.position).toEqual(position);
  });

  test("two rooms of one connection do not mix, and one that was left is silent", async () => {
    const it = client();
    const [one, two] = [it.join<string>(fresh()), it.join<string>(fresh())];
    const [inOne, inTwo] = [record(one), record(two)];
    await Promise.all([one.publish("1a"), two.publish("2a"), one.publish("1b")]);
    await until("all came", () => inOne.length === 2 && inTwo.length === 1);
    await one.leave();
    const other = client().join<string>(one.name);
    await other.publish("1c");
    await two.publish("2b");
    await until("2b came", () => inTwo.length === 2);
    expect([inOne, inTwo].map((events) => events.map(({ data }) => data))).toEqual([
      ["1a", "1b"],
      ["2a", "2b"],
    ]);
    const again = it.join<string>(one.name, { from: "all" });
    const inAgain = record(again);
    await live(again);
    expect(inAgain.map(({ data }) => data)).toEqual(["1a", "1b", "1c"]);
  });
});

test("history goes both ways, in pages", async () => {
  const room = client().join<number>(fresh());
  await Promise.all(numbers(10).map((n) => room.publish(n)));
  const pages = async (reverse: boolean): Promise<number[]> => {
    const all: number[] = [];
    for (let more = true, bound: number | undefined; more; bound = all.at(-1)) {
      const range = bound === undefined ? {} : reverse ? { before: bound } : { after: bound };
      const page = await room.history({ ...range, limit: 4, reverse });
      expect(page.events.length).toBeLessThanOrEqual(4);
      expect(page.epoch).toBe(room.position!.epoch);
      all.push(...page.events.map(({ offset }) => offset));
      more = page.more;
    }
    return all;
  };
  expect(await pages(false)).toEqual(numbers(10));
  expect(await pages(true)).toEqual(numbers(10).reverse());
  const between = await room.history({ after: 3, before: 6 });
  expect([between.events.map(({ data }) => data), between.more]).toEqual([[4, 5], false]);
});

describe("what the server refuses", () => {
  test("an unknown class fails the room", async () => {
    const room = client().join("nonsense/x");
    await expect(room.publish(1)).rejects.toMatchObject({ code: "unknown_class" });
    expect(room.state).toBe("failed");
  });

  test("a token that is none ends the client; it can start anew", async () => {
    const it = new Dormouse(server.url, { WebSocket, session: "nonsense" });
    clients.push(it);
    it.connect();
    await expect(it.ready()).rejects.toMatchObject({ code: "closed", closeCode: 3500 });
    it.connect();
    await it.ready();
  });

  test("what is too large is not sent; what just fits is", async () => {
    const it = client();
    let limit = 0;
    it.on("welcome", ({ limits }) => (limit = limits.message_bytes));
    const room = it.join<Uint8Array>(fresh());
    await live(room);
    await expect(room.publish(new Uint8Array(limit))).rejects.toMatchObject({ code: "too_large" });
    const events = record(room);
    await room.publish(new Uint8Array(limit - 100));
    await until("it came", () => events.length === 1);
    expect(events[0]!.data.length).toBe(limit - 100);
  });
});

describe("resume", () => {
  test.each(["json", "msgpack"] as const)("after the connection is cut again and again, with %s", async (encoding) => {
    const name = fresh();
    const room = client({ encoding }, proxy.url).join<number>(name);
    const writer = client().join<number>(name);
    const events = record(room);
    await live(room, writer);
    const session = clients[0]!.session!.id;
    const all: Promise<unknown>[] = [];
    for (const n of numbers(200)) {
      // Two clients publish: one over a connection that breaks, the other over one that does not.
      all.push((n % 2 === 0 ? room : writer).publish(n));
      if (n % 40 === 0) proxy.cut();
      if (n % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 15));
    }
    await Promise.all(all);
    await until("everything came", () => events.length >= 200);
    expect(events.map(({ offset }) => offset)).toEqual(numbers(200));
    expect(events.map(({ data }) => data).filter((n) => n % 2 === 0)).toEqual(numbers(100).map((n) => n * 2));
    expect(events.map(({ data }) => data).filter((n) => n % 2 === 1)).toEqual(numbers(100).map((n) => n * 2 - 1));
    expect(new Set(events.filter(({ data }) => data % 2 === 0).map(({ sender }) => sender))).toEqual(new Set([session]));
  });

  test("after kill -9 with publishes under way: each stored once, in order, and delivered once", async () => {
    const name = fresh();
    const writer = client().join<number>(name);
    const reader = client({ encoding: "json" }).join<number>(name);
    const [written, read] = [record(writer), record(reader)];
    await live(writer, reader);
    // The epoch of an empty log is not on disk.
    const published: Promise<{ offset: number }>[] = [writer.publish(0)];
    await published[0];
    const { epoch } = writer.position!;
    for (const n of numbers(300)) {
      published.push(writer.publish(n));
      if (n % 100 === 50) {
        // One cut between the answers, the others before the first answer.
        if (n === 150) await published[n - 20];
        await server.kill();
        published.push(writer.publish(-n));
        await server.start();
      }
    }
    const expected = [0, ...numbers(300).flatMap((n) => (n % 100 === 50 ? [n, -n] : [n]))];
    const offsets = (await Promise.all(published)).map(({ offset }) => offset);
    expect(offsets).toEqual(numbers(304));
    await until("everything came to both", () => written.length >= 304 && read.length >= 304);
    for (const events of [written, read]) {
      expect(events.map(({ offset }) => offset)).toEqual(numbers(304));
      expect(events.map(({ data }) => data)).toEqual(expected);
    }
    expect(writer.position).toEqual({ epoch, offset: 304 });
  });
});
