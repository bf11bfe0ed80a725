import { encode as encodeMsgpack } from "@msgpack/msgpack";
import { describe, expect, test } from "vitest";
import { Dormouse, type Room } from "../../src/index.js";
import { FAST, client, clients, server, startAgain } from "../support/fake.js";
import { until } from "../support/until.js";

const NAME = "room/lobby";

/** What a room delivered, in order. */
function record(room: Room): string[] {
  const seen: string[] = [];
  room.on("event", ({ offset, data }) => seen.push(`${offset} ${String(data)}`));
  room.on("reset", ({ reason }) => seen.push(`reset ${reason}`));
  room.on("caught_up", ({ offset }) => seen.push(`caught up ${offset}`));
  return seen;
}

describe.each(["json", "msgpack"] as const)("with %s", (encoding) => {
  test("joins, publishes, receives, signals, reads history and leaves", async () => {
    server.append(NAME, "before");
    const room = client({ encoding }).join<unknown, unknown>(NAME, { from: "all" });
    const seen = record(room);
    const signals: unknown[] = [];
    room.on("signal", ({ data, key }) => signals.push([data, key]));
    const bytes = new Uint8Array([0, 255]);
    expect(await room.publish(bytes, { kind: "bytes" })).toMatchObject({ offset: 2, duplicate: false });
    expect(room.state).toBe("live");
    expect(room.signal({ x: 1 }, { key: "cursor" })).toBe(true);
    const page = await room.history({ before: 3, limit: 1, reverse: true });
    expect(page).toMatchObject({ more: true, events: [{ offset: 2, kind: "bytes", data: bytes }] });
    await until("the signal came", () => signals.length > 0);
    expect(signals).toEqual([[{ x: 1 }, "cursor"]]);
    expect(seen).toEqual(["1 before", "caught up 1", "2 0,255"]);
    await room.leave();
    server.append(NAME, "after");
    await expect(room.publish(1)).rejects.toMatchObject({ code: "left" });
    expect(seen.length).toBe(3);
  });
});

describe("resume", () => {
  test("continues the session and the position, and misses and repeats nothing", async () => {
    const room = client().join(NAME);
    const seen = record(room);
    await until("live", () => room.state === "live");
    server.append(NAME, "a");
    await until("a came", () => seen.includes("1 a"));
    server.last.cut();
    server.append(NAME, "b");
    await until("resumed", () => server.connections.length === 2 && room.state === "live");
    server.append(NAME, "c");
    await until("c came", () => seen.includes("3 c"));
    expect(seen).toEqual(["caught up 0", "1 a", "2 b", "caught up 2", "3 c"]);
    expect(server.last.token).toBe("token-s1");
    expect(server.last.of("join")[0]!.from).toEqual({ after: { epoch: 7, offset: 1 } });
  });

  test("a silent object is resumed at the position of its join", async () => {
    server.append(NAME, "old");
    const room = client().join(NAME);
    await until("live", () => room.state === "live");
    expect(room.position).toEqual({ epoch: 7, offset: 1 });
    server.last.cut();
    server.append(NAME, "missed");
    const seen = record(room);
    await until("resumed", () => seen.includes("2 missed"));
  });

  test("a reset says so before anything is delivered again", async () => {
    server.append(NAME, "a");
    const room = client().join(NAME, { from: "all" });
    const seen = record(room);
    await until("live", () => room.state === "live");
    const log = server.log(NAME);
    log.epoch = 8;
    log.events = [];
    server.append(NAME, "new");
    server.last.cut();
    await until("resumed", () => server.connections.length === 2 && room.state === "live");
    // "new" also reached the first connection, under an offset that was delivered already: it did not count.
    expect(seen).toEqual(["1 a", "caught up 1", "reset other_epoch", "1 new", "caught up 1"]);
    expect(room.position).toEqual({ epoch: 8, offset: 1 });
  });

  test("a reset in the middle of the stream starts over", async () => {
    const room = client().join(NAME);
    const seen = record(room);
    await until("live", () => room.state === "live");
    const { object } = server.log(NAME);
    server.last.send({ type: "reset", body: { object, reason: "trimmed", epoch: 9, from: 30 } });
    const event = { offset: 31, time: 1, sender: "other", kind: "message", data: "kept" };
    server.last.send({ type: "events", body: { object, events: [event] } });
    await until("31 came", () => seen.includes("31 kept"));
    expect(room.state).toBe("catching_up");
    expect(room.position).toEqual({ epoch: 9, offset: 31 });
  });

  test.each([
    ["a hole", 3],
    ["a repeat", 1],
  ])("an event after %s is not delivered; the client reports it and resumes", async (_what, offset) => {
    const it = client();
    server.append(NAME, "a");
    const room = it.join(NAME, { from: "all" });
    const seen = record(room);
    await until("live", () => room.state === "live");
    const event = { offset, time: 1, sender: "other", kind: "message", data: "wrong" };
    server.last.send({ type: "events", body: { object: server.log(NAME).object, events: [event] } });
    await until("resumed", () => server.connections.length === 2 && room.state === "live");
    expect(seen).toEqual(["1 a", "caught up 1", "caught up 1"]);
    expect(it.errors).toMatchObject([{ code: "protocol" }]);
  });

  test("what a listener did not see, because another one disconnected, comes after the reconnect", async () => {
    for (const data of ["a", "b", "c"]) server.append(NAME, data);
    const it = client();
    const room = it.join(NAME, { from: "all" });
    const seen = record(room);
    const off = room.on("event", () => it.disconnect());
    await until("disconnected", () => it.state === "disconnected");
    expect(seen).toEqual(["1 a"]);
    off();
    it.connect();
    await until("live", () => room.state === "live");
    expect(seen).toEqual(["1 a", "2 b", "3 c", "caught up 3"]);
  });
});

describe("publishing", () => {
  test("waits for a connection and keeps the order", async () => {
    const it = new Dormouse(server.url, FAST);
    clients.push(it);
    const room = it.join(NAME);
    const all = [1, 2, 3].map((n) => room.publish(n));
    it.connect();
    expect((await Promise.all(all)).map(({ offset }) => offset)).toEqual([1, 2, 3]);
  });

  test("what was not acknowledged is sent again with the same keys and before what is newer, and stored once", async () => {
    const room = client().join(NAME);
    const seen = record(room);
    await until("live", () => room.state === "live");
    // The first is stored but its acknowledgement is lost; the second is lost.
    server.script = (message, connection) => {
      if (message.type !== "publish" || connection !== server.connections[0]) return false;
      if (message.body.data === 1) server.append(NAME, 1, { sender: connection.session, key: message.body.key! });
      if (message.body.data === 2) connection.cut();
      return true;
    };
    const first = [room.publish(1), room.publish(2)];
    await until("both were sent", () => server.connections[0]!.of("publish").length === 2);
    const all = await Promise.all([...first, room.publish(3)]);
    expect(all.map(({ offset, duplicate }) => [offset, duplicate])).toEqual([
      [1, true],
      [2, false],
      [3, false],
    ]);
    const [before, after] = server.connections.map((connection) => connection.of("publish").map(({ key }) => key));
    expect(after!.slice(0, 2)).toEqual(before);
    expect(new Set(after).size).toBe(3);
    await until("all came", () => seen.includes("3 3"));
    expect(seen.filter((line) => !line.startsWith("caught"))).toEqual(["1 1", "2 2", "3 3"]);
  });

  test("what is refused for now is sent again in order", async () => {
    const room = client().join(NAME);
    await until("live", () => room.state === "live");
    let refusals = 3;
    server.script = ({ type, body }, connection) => {
      if (type !== "publish" || refusals === 0) return false;
      refusals--;
      connection.send({ type: "error", body: { id: body.id, code: "overloaded", message: "later" } });
      return true;
    };
    const all = await Promise.all([1, 2, 3].map((n) => room.publish(n)));
    expect(all.map(({ offset }) => offset)).toEqual([1, 2, 3]);
    expect(server.log(NAME).events.map(({ data }) => data)).toEqual([1, 2, 3]);
  });

  test("what is refused for good rejects, and the next ones go on", async () => {
    const room = client().join(NAME);
    server.script = ({ type, body }, connection) => {
      if (type !== "publish" || body.data !== 1) return false;
      connection.send({ type: "error", body: { id: body.id, code: "bad_request", message: "no" } });
      return true;
    };
    const [first, second] = await Promise.allSettled([room.publish(1), room.publish(2)]);
    expect(first).toMatchObject({ status: "rejected", reason: { code: "bad_request", message: "no" } });
    expect(second).toMatchObject({ status: "fulfilled", value: { offset: 1 } });
  });

  test("never has more requests under way than the server allows", async () => {
    server.limits = { ...server.limits, in_flight: 4 };
    let underWay = 0;
    let most = 0;
    server.script = (message, connection) => {
      if (message.type !== "publish") return false;
      most = Math.max(most, ++underWay);
      // The answers come later, so that a client without a bound would send on.
      setTimeout(() => {
        underWay--;
        server.answer(message, connection);
      }, 5);
      return true;
    };
    const room = client().join(NAME);
    await Promise.all(Array.from({ length: 40 }, (_, n) => room.publish(n)));
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(4);
    expect(server.log(NAME).events.map(({ data }) => data)).toEqual(Array.from({ length: 40 }, (_, n) => n));
  });

  test("is bounded", async () => {
    const it = new Dormouse(server.url, FAST);
    const room = it.join(NAME);
    const all = Array.from({ length: 1_001 }, (_, n) => room.publish(n));
    await expect(all[1_000]).rejects.toMatchObject({ code: "outbox_full" });
    it.connect();
    clients.push(it);
    await expect(all[999]).resolves.toMatchObject({ offset: 1_000 });
  });

  test("rejects what is over the server's limit, and the connection stays", async () => {
    server.limits = { ...server.limits, message_bytes: 100 };
    const room = client().join(NAME);
    const [large, small] = await Promise.allSettled([room.publish("é".repeat(50)), room.publish("é")]);
    expect(large).toMatchObject({ status: "rejected", reason: { code: "too_large" } });
    expect(small).toMatchObject({ status: "fulfilled" });
    expect(server.connections.length).toBe(1);
  });

  test("sends what was meant when it was called", async () => {
    const it = new Dormouse(server.url, FAST);
    clients.push(it);
    const room = it.join(NAME);
    const data = { n: 1 };
    const published = room.publish(data);
    data.n = 2;
    it.connect();
    await published;
    expect(server.log(NAME).events[0]!.data).toEqual({ n: 1 });
  });

  test("disconnect gives up what is not acknowledged", async () => {
    server.script = ({ type }) => type === "publish";
    const it = client();
    const room = it.join(NAME);
    const published = room.publish(1);
    await until("it was sent", () => (server.connections[0]?.of("publish").length ?? 0) > 0);
    it.disconnect();
    await expect(published).rejects.toMatchObject({ code: "disconnected" });
  });
});

describe("leaving", () => {
  test("rejects what was not sent yet, and stores none of it", async () => {
    const it = new Dormouse(server.url, FAST);
    clients.push(it);
    const room = it.join(NAME);
    const published = room.publish("unsent");
    const left = room.leave();
    await expect(published).rejects.toMatchObject({ name: "DormouseError", code: "left" });
    await left;
    it.connect();
    await it.join(NAME).publish("sent");
    expect(server.log(NAME).events.map(({ data }) => data)).toEqual(["sent"]);
  });

  test("still tells what became of what was sent", async () => {
    const room = client().join(NAME);
    await until("live", () => room.state === "live");
    const published = room.publish("sent");
    await room.leave();
    await expect(published).resolves.toMatchObject({ offset: 1 });
  });
});

describe("joining", () => {
  test("a refusal for good fails the room", async () => {
    server.script = ({ type, body }, connection) => {
      if (type !== "join") return false;
      connection.send({ type: "error", body: { id: body.id, code: "unknown_class", message: "no such class" } });
      return true;
    };
    const it = client();
    const room = it.join(NAME);
    const published = room.publish(1);
    await expect(published).rejects.toMatchObject({ code: "unknown_class" });
    expect(room.state).toBe("failed");
    await expect(room.publish(2)).rejects.toMatchObject({ code: "unknown_class" });
    await room.leave();
    server.script = () => false;
    const again = it.join(NAME);
    expect(again).not.toBe(room);
    await again.publish(1);
  });

  test("a refusal for now is tried again", async () => {
    let refusals = 2;
    server.script = ({ type, body }, connection) => {
      if (type !== "join" || refusals-- <= 0) return false;
      connection.send({ type: "error", body: { id: body.id, code: "unavailable", message: "later" } });
      return true;
    };
    const room = client().join(NAME);
    await until("live", () => room.state === "live");
    expect(server.last.of("join").length).toBe(3);
  });

  test("a room that was left can be joined again at once", async () => {
    const it = client();
    const first = it.join(NAME);
    await until("live", () => first.state === "live");
    const left = first.leave();
    const second = it.join(NAME);
    const seen = record(second);
    await left;
    await until("live again", () => second.state === "live");
    server.append(NAME, "x");
    await until("x came", () => seen.includes("1 x"));
    expect(server.last.received.map(({ type }) => type)).toEqual(["join", "leave", "join"]);
  });

  test("a room that is left before the join was answered is left on the server too", async () => {
    const it = client();
    await it.ready();
    const room = it.join(NAME);
    await room.leave();
    expect(server.last.received.map(({ type }) => type)).toEqual(["join", "leave"]);
    expect(server.last.members.size).toBe(0);
  });

  test("a name that is none throws", () => {
    expect(() => client().join("lobby")).toThrow(expect.objectContaining({ code: "bad_request" }));
  });
});

describe("the end of a connection", () => {
  test("a code that says stop stops the client, and a bad token is not used again", async () => {
    server.refuse = { code: 3500, reason: "bad_token" };
    const it = client({ session: "stale" });
    const room = it.join(NAME);
    const published = room.publish(1);
    await expect(it.ready()).rejects.toMatchObject({ code: "closed", closeCode: 3500 });
    await expect(published).rejects.toMatchObject({ code: "closed" });
    expect([it.state, server.last.token, server.connections.length]).toEqual(["closed", "stale", 1]);
    server.refuse = null;
    it.connect();
    await it.ready();
    expect(server.last.token).toBeNull();
    await until("live", () => room.state === "live");
  });

  test("the state says why there is no connection, and that it came", async () => {
    const { port } = server;
    await server.stop();
    const it = new Dormouse(`ws://127.0.0.1:${port}`, FAST);
    clients.push(it);
    const seen: (string | undefined)[] = [];
    it.on("state", ({ state, retryAt, error }) => {
      if (state === "connected" || retryAt !== null) seen.push(`${state} ${error?.code} ${error?.message}`);
    });
    it.connect();
    const published = it.join(NAME).publish(1);
    await until("it tried twice", () => seen.length > 1);
    await startAgain(port);
    await published;
    const refused = `connecting unreachable cannot connect to the server: connect ECONNREFUSED 127.0.0.1:${port} (1006)`;
    expect([seen[0], seen[1], seen.at(-1)]).toEqual([refused, refused, "connected undefined undefined"]);
  });

  test("a code that says reconnect does", async () => {
    server.refuse = { code: 3000, reason: "going_away" };
    const it = client();
    await until("it came back", () => server.connections.length > 2);
    expect(it.state).toBe("connecting");
    server.refuse = null;
    await it.ready();
  });

  test("history survives a reconnect, and ends in time without one", async () => {
    server.append(NAME, "a");
    server.script = ({ type }) => type === "history";
    const it = client({ timeout: 300 });
    const room = it.join(NAME);
    const page = room.history({ reverse: true });
    await until("it was asked for", () => (server.connections[0]?.of("history").length ?? 0) > 0);
    server.script = () => false;
    server.last.cut();
    expect((await page).events.map(({ offset }) => offset)).toEqual([1]);
    server.script = ({ type }) => type === "history";
    await expect(room.history()).rejects.toMatchObject({ code: "timeout" });
  });

  test("a server that falls silent is left for another connection", async () => {
    // With the client's slack of 5 s it asks after 50 ms of silence.
    server.pingIntervalMs = -4_950;
    server.script = ({ type }, { token }) => type === "ping" && token === null;
    const it = client({ timeout: 50 });
    await until("it came back", () => server.connections.length === 2);
    await until("the second is asked too", () => server.last.of("ping").length > 1);
    expect([it.state, server.connections.length]).toEqual(["connected", 2]);
    expect(server.last.of("ping")[0]).toEqual({ id: 0 });
  });

  test("a message that can't be read is reported, and the client comes back", async () => {
    const it = client();
    await it.ready();
    server.last.socket.send(new Uint8Array([0xc1]));
    await until("it came back", () => server.connections.length === 2);
    expect(it.errors).toMatchObject([{ code: "protocol" }]);
  });

  test("a server whose messages can never be read stops the client with an error", async () => {
    server.script = ({ type }, connection) => {
      if (type !== "join") return false;
      connection.socket.send("text in place of bytes");
      return true;
    };
    const it = client();
    const published = it.join(NAME).publish(1);
    await expect(published).rejects.toMatchObject({ code: "protocol" });
    expect([it.state, server.connections.length]).toEqual(["closed", 3]);
    expect(it.errors.at(-1)!.message).toMatch(/3 connections.*expected bytes, received text/);
    server.script = () => false;
    it.connect();
    await it.join(NAME).publish(2);
  });

  test.each(["json", "msgpack"] as const)("messages, fields and codes that a newer server has do no harm in %s", async (encoding) => {
    const it = client({ encoding });
    const room = it.join(NAME);
    const seen = record(room);
    await until("live", () => room.state === "live");
    const send = (message: object): void =>
      server.last.socket.send(encoding === "json" ? JSON.stringify(message) : encodeMsgpack(message));
    send({ novelty: null });
    send({ novelty: 7 });
    send({ constructor: [1] });
    send({ hint: { object: server.log(NAME).object, id: 1 } });
    send(encoding === "json" ? { caught_up: { object: 999, offset: 3, more: true } } : { caught_up: [999, 3, true] });
    send(encoding === "json" ? { error: { id: null, code: "novelty", message: "x" } } : { error: [null, "novelty", "x"] });
    await room.publish("still there");
    expect([seen, it.errors.map(({ code }) => code)]).toEqual([["caught up 0", "1 still there"], ["novelty"]]);
    expect(server.connections.length).toBe(1);
  });
});
