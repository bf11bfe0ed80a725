import { describe, expect, test } from "vitest";
import { Dormouse, type JoinOptions, type Room } from "../../src/index.js";
import { FAST, client, clients, server } from "../support/fake.js";
import { until } from "../support/until.js";

const NAME = "room/lobby";
const live = (room: Room): Promise<void> => until("live", () => room.state === "live");
const types = (): string[] => server.last.received.map(({ type }) => type);

describe("an option that does not exist, or has a wrong value, is refused by its name", () => {
  const it = new Dormouse("ws://127.0.0.1:1", FAST);
  const room = it.join(NAME);
  const refused = (part: string): Error =>
    expect.objectContaining({ code: "bad_request", message: expect.stringContaining(part) as string }) as Error;

  test.each([
    [{ frm: "all" }, '"frm"'],
    [{ from: "al" }, "from"],
    [{ from: { last: -1 } }, "from"],
    [{ from: { last: 5, after: null } }, "from"],
    [{ from: { after: { epoch: 1 } } }, "from"],
    [{ watch: "all" }, "watch"],
  ])("join with %j", (options, part) => {
    expect(() => it.join(NAME, options as JoinOptions)).toThrow(refused(part));
    expect(() => it.join("room/other", options as JoinOptions)).toThrow(refused(part));
  });

  test("new Dormouse", () => {
    expect(() => new Dormouse("ws://host", { ...FAST, sesion: "x" } as object)).toThrow(refused('"sesion"'));
    expect(() => new Dormouse("ws://host", { ...FAST, encoding: "xml" as "json" })).toThrow(refused("encoding"));
    expect(() => new Dormouse("ws://host", { ...FAST, token: (() => "t") as unknown as string })).toThrow(refused("getToken"));
    expect(() => new Dormouse("ws://host", { ...FAST, token: "t", getToken: () => "t" })).toThrow(refused("token and getToken"));
  });

  test("publish, signal, history and readRoster", async () => {
    await expect(room.publish(1, { knd: "x" } as object)).rejects.toEqual(refused('"knd"'));
    expect(() => room.signal(1, { ky: "x" } as object)).toThrow(refused('"ky"'));
    await expect(room.history({ form: 1 } as object)).rejects.toEqual(refused('"form"'));
    await expect(room.readRoster({ before: 1 } as object)).rejects.toEqual(refused('"before"'));
  });

  test("a key with half of a surrogate pair is refused, as two keys must not become one", async () => {
    await expect(room.publish(1, { key: "a\ud83d" })).rejects.toEqual(refused("invalid key"));
  });
});

describe("two parts of a page join one room", () => {
  test("the room stays joined until both have left", async () => {
    const it = client();
    const first = it.join(NAME);
    const second = it.join(NAME);
    expect(second).toBe(first);
    await live(first);
    await first.leave();
    expect(first.state).toBe("live");
    await second.publish(1);
    await second.leave();
    expect(first.state).toBe("left");
    expect(types()).toEqual(["join", "publish", "leave"]);
    expect(it.join(NAME)).not.toBe(first);
  });

  test("a part that joins, leaves and joins again at once has a room", async () => {
    const it = client();
    void it.join(NAME, { presence: 1 }).leave();
    const room = it.join(NAME, { presence: 1 });
    await live(room);
    expect(server.log(NAME).roster.members.size).toBe(1);
  });

  test("a presence that comes later puts the member into the roster, which is watched from then on", async () => {
    const it = client();
    const room = it.join(NAME);
    const seen: number[] = [];
    room.on("event", ({ offset }) => seen.push(offset));
    await live(room);
    server.append(NAME, "a");
    await until("a came", () => seen.length === 1);
    it.join(NAME, { presence: { name: "Ada" } });
    const published = room.publish("b");
    server.append(NAME, "meanwhile");
    await until("the roster is complete", () => room.roster.isComplete && room.state === "live");
    await published;
    await until("all came", () => seen.length === 3);
    expect([...room.roster.members.values()].map(({ data }) => data)).toEqual([{ name: "Ada" }]);
    expect(seen).toEqual([1, 2, 3]);
    expect(server.connections.length).toBe(1);
  });

  test("the options are merged while the first join is under way, and before there is a connection", async () => {
    for (const isConnected of [true, false]) {
      const it = new Dormouse(server.url, FAST);
      clients.push(it);
      if (isConnected) {
        it.connect();
        await it.ready();
      }
      const room = it.join(NAME, { watch: "count" });
      it.join(NAME, { watch: "roster" });
      it.join(NAME, { presence: "me", watch: "none" });
      it.connect();
      await until("the roster is complete", () => room.roster.isComplete && room.roster.members.size > 0);
      await live(room);
      it.disconnect();
      await until("gone", () => server.log(NAME).roster.members.size === 0);
    }
  });

  test("the later presence replaces the earlier one, without another join", async () => {
    const it = client();
    const room = it.join(NAME, { presence: 1 });
    await live(room);
    it.join(NAME, { presence: 2 });
    it.join(NAME);
    await until("it was replaced", () => [...server.log(NAME).roster.members.values()][0]?.data === 2);
    expect(types()).toEqual(["join", "presence.set"]);
  });

  test("another start is refused, and the refused join does not count", async () => {
    const it = client();
    const room = it.join(NAME, { from: { last: 5 } });
    expect(it.join(NAME, { from: { last: 5 } })).toBe(room);
    expect(() => it.join(NAME, { from: "all" })).toThrow(
      expect.objectContaining({ code: "bad_request", message: expect.stringContaining("already joined") as string }),
    );
    await room.leave();
    expect(room.state).not.toBe("left");
    await room.leave();
    expect(room.state).toBe("left");
  });

  test("a room that fails can be joined again from its own state event", async () => {
    let refusals = 1;
    server.script = ({ type, body }, connection) => {
      if (type !== "join" || refusals-- <= 0) return false;
      connection.send({ type: "error", body: { id: body.id, code: "too_many_joins", message: "no" } });
      return true;
    };
    const it = client();
    const room = it.join(NAME);
    const again = new Promise<Room>((resolve) => room.on("state", () => resolve(it.join(NAME))));
    await (await again).publish(1);
    expect([room.state, types()]).toEqual(["failed", ["join", "join", "publish"]]);
  });

  test("a leave while the room joins again with more of the roster leaves it", async () => {
    const it = client();
    const room = it.join(NAME);
    await live(room);
    it.join(NAME, { presence: 1 });
    void room.leave();
    await room.leave();
    expect([types(), server.last.members.size]).toEqual([["join", "leave"], 0]);
  });
});

describe("leaving without a connection", () => {
  /** Cuts the connection of the room, and lets no other one come up. */
  async function cut(room: Room): Promise<void> {
    server.refuse = { code: 3000, reason: "going_away" };
    server.last.cut();
    await until("the connection is lost", () => room.state === "joining");
  }

  /** A room with presence whose connection was cut, and that was left before the next one. */
  async function leftOffline(): Promise<{ it: Dormouse; room: Room }> {
    const it = client();
    const room = it.join(NAME, { presence: { name: "Ada" } });
    await live(room);
    await cut(room);
    await room.leave();
    expect(server.log(NAME).roster.members.size).toBe(1);
    server.refuse = null;
    return { it, room };
  }

  test("is told after the reconnect, so that the member does not stay in the roster", async () => {
    await leftOffline();
    await until("it left", () => server.log(NAME).roster.members.size === 0);
    expect(types()).toEqual(["join", "leave"]);
    expect(server.last.of("join")[0]).toMatchObject({ member: 1, watch: "none", from: "now" });
  });

  test("comes before a later join of the same room", async () => {
    const { it } = await leftOffline();
    const again = it.join(NAME, { presence: { name: "Bo" } });
    await live(again);
    expect(types()).toEqual(["join", "leave", "join"]);
    expect([...server.log(NAME).roster.members.values()].map(({ data }) => data)).toEqual([{ name: "Bo" }]);
  });

  test("is not told where the roster never had the member", async () => {
    const it = client();
    const room = it.join(NAME);
    await live(room);
    await cut(room);
    await room.leave();
    server.refuse = null;
    await it.ready();
    await it.join("room/other").publish(1);
    expect(types()).toEqual(["join", "publish"]);
  });

  test("is told as well where the connection breaks before the answer", async () => {
    const it = client();
    const room = it.join(NAME, { presence: 1 });
    await live(room);
    server.script = ({ type }, connection) => {
      if (type !== "leave" || connection !== server.connections[0]) return false;
      connection.cut();
      return true;
    };
    await room.leave();
    await until("it left", () => server.log(NAME).roster.members.size === 0);
    expect(it.state).toBe("connected");
  });
});
