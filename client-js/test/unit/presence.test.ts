import { describe, expect, test } from "vitest";
import { Dormouse, type DormouseError, type Room } from "../../src/index.js";
import type { ClientBodies, ClientMessage } from "../../src/messages.js";
import type { FakeRoster } from "../support/fake-roster.js";
import type { Script } from "../support/fake-server.js";
import { FAST, client, clients, server } from "../support/fake.js";
import { until } from "../support/until.js";

const NAME = "room/lobby";

const rosterOf = (name = NAME): FakeRoster => server.log(name).roster;
const namesIn = ({ roster }: Room): unknown[] => [...roster.members.values()].map(({ data }) => data);

/** Collects the presence events of a room, in order. */
function record(room: Room): string[] {
  const seen: string[] = [];
  room.on("presence", ({ joined, updated, left }) => {
    for (const { member, user, data, first } of joined) seen.push(`+${member} ${user} ${String(data)}${first ? " first" : ""}`);
    for (const { member, user, data } of updated) seen.push(`~${member} ${user} ${String(data)}`);
    for (const { member, user, data, last } of left) seen.push(`-${member} ${user} ${String(data)}${last ? " last" : ""}`);
  });
  return seen;
}

const live = (...rooms: Room[]): Promise<void> => until("live", () => rooms.every(({ state }) => state === "live"));

/** Refuses the messages that match, so many times. */
function refusing(code: DormouseError["code"], times: number, matches: (message: ClientMessage) => boolean): Script {
  return (message, connection) => {
    if (times === 0 || !matches(message)) return false;
    times--;
    connection.send({ type: "error", body: { id: message.body.id!, code: code as "internal", message: "no" } });
    return true;
  };
}

describe.each(["json", "msgpack"] as const)("with %s", (encoding) => {
  test("two see each other come, change and go", async () => {
    const ann = client({ encoding }).join(NAME, { presence: "Ann" });
    const seen = record(ann);
    await live(ann);
    expect(ann.roster).toMatchObject({ count: 1, users: 1, version: 101, isComplete: true });
    expect(ann.roster.members.get(ann.member!)).toEqual({ member: 1, user: "s1", data: "Ann" });
    const bob = client({ encoding }).join(NAME, { presence: "Bob" });
    await live(bob);
    expect([bob.member, namesIn(bob)]).toEqual([2, ["Ann", "Bob"]]);
    await bob.presence("Bobby");
    await bob.leave();
    await until("Bob went", () => ann.roster.count === 1);
    expect(seen).toEqual(["+1 s1 Ann first", "+2 s2 Bob first", "~2 s2 Bobby", "-2 s2 Bobby last"]);
  });
});

describe("watching", () => {
  test("is for who says who they are, unless told otherwise", async () => {
    const it = client();
    const [a, b, c, d] = [
      it.join("room/a"),
      it.join("room/b", { presence: 1 }),
      it.join("room/c", { presence: 1, watch: "none" }),
      it.join("room/d", { watch: "roster" }),
    ];
    await live(a, b, c, d);
    expect(server.last.of("join").map(({ presence, watch }) => [presence, watch])).toEqual([
      [null, "none"],
      [1, "roster"],
      [1, "none"],
      [null, "roster"],
    ]);
    expect([a, b, c, d].map(({ roster }) => roster.version)).toEqual([null, 101, null, 100]);
  });

  test("only the counts reports only those", async () => {
    const room = client().join(NAME, { watch: "count" });
    const seen = record(room);
    const counts: unknown[] = [];
    room.on("roster", (roster) => counts.push(roster));
    await live(room);
    rosterOf().say(10, "ann", 1);
    rosterOf().say(11, "ann", 2);
    await until("two are here", () => room.roster.count === 2);
    expect(counts).toEqual([
      { version: 100, count: 0, users: 0 },
      { version: 101, count: 1, users: 1 },
      { version: 102, count: 2, users: 1 },
    ]);
    expect([seen, room.roster.members.size, room.roster.isComplete]).toEqual([[], 0, false]);
    server.last.cut();
    await until("it is back", () => server.connections.length === 2 && room.state === "live");
    expect(server.last.of("join")[0]).toMatchObject({ watch: "count", member: 1 });
  });

  test("a large roster is read page by page", async () => {
    const roster = rosterOf();
    roster.pageSize = 10;
    for (let n = 1; n <= 95; n++) roster.say(n + 100, `u${n}`, n);
    const room = client().join(NAME, { watch: "roster" });
    const seen = record(room);
    await until("everybody is known", () => room.roster.isComplete);
    expect([seen.length, room.roster.members.size, room.roster.count]).toEqual([95, 95, 95]);
    expect(server.last.of("presence.get").map(({ after }) => after)).toEqual([110, 120, 130, 140, 150, 160, 170, 180, 190]);
  });

  test("a page that comes late does not bring back who went meanwhile", async () => {
    const roster = rosterOf();
    roster.pageSize = 2;
    for (let n = 1; n <= 4; n++) roster.say(n + 100, `u${n}`, n);
    server.script = (message, connection) => {
      if (message.type !== "presence.get") return false;
      const page = roster.read(message.body);
      roster.say(104, "u4", null);
      roster.say(103, "u3", "new");
      connection.send({ type: "roster", body: page });
      return true;
    };
    const room = client().join(NAME, { watch: "roster" });
    await until("everybody is known", () => room.roster.isComplete);
    expect(namesIn(room)).toEqual([1, 2, "new"]);
  });

  test("a page that is refused for now is asked for again, and one for good ends the reading", async () => {
    rosterOf().pageSize = 2;
    for (let n = 1; n <= 4; n++) rosterOf().say(n + 100, `u${n}`, n);
    server.script = refusing("overloaded", 2, ({ type }) => type === "presence.get");
    const room = client().join(NAME, { watch: "roster" });
    await until("everybody is known", () => room.roster.isComplete);
    server.script = refusing("bad_request", 1, ({ type }) => type === "presence.get");
    const other = client().join(NAME, { watch: "roster" });
    await until("it was refused", () => server.last.of("presence.get").length === 1);
    rosterOf().say(200, "late", "late");
    await until("the change came", () => other.roster.version === 105);
    expect([namesIn(other), other.roster.isComplete, other.roster.count]).toEqual([[1, 2, "late"], false, 5]);
  });

  test("a whole roster in the middle takes the place of what was missed", async () => {
    const room = client().join(NAME, { watch: "roster" });
    await live(room);
    const seen = record(room);
    const { object } = server.log(NAME);
    const present = [{ member: 9, user: "ann", data: "Ann" }];
    const more = { members: 1, users: 1, since: null, left: [], more: false };
    server.last.send({ type: "roster", body: { id: null, object, version: 200, present, ...more } });
    const delta = { object, members: 0, users: 0, join: [], update: [], leave: [{ member: 9, user: "ann", last: true }] };
    server.last.send({ type: "presence", body: { ...delta, version: 201 } });
    await until("the next came", () => room.roster.version === 201);
    expect(seen).toEqual(["+9 ann Ann first", "-9 ann Ann last"]);
  });

  test("a version that is missing is reported, and the whole roster asked for", async () => {
    const it = client();
    const room = it.join(NAME, { presence: "Ann" });
    await live(room);
    rosterOf().version += 5;
    rosterOf().say(50, "bob", "Bob");
    await until("it came back", () => server.connections.length === 2 && room.state === "live");
    expect(it.errors).toMatchObject([{ code: "protocol" }]);
    expect(server.last.of("join")[0]).toMatchObject({ watch: "roster", member: 1 });
    expect([namesIn(room), room.roster.version]).toEqual([["Ann", "Bob"], 107]);
  });
});

describe("a reconnect", () => {
  test("takes the old place and reports only what was missed", async () => {
    const ann = client().join(NAME, { presence: "Ann" });
    const watcher = client().join(NAME, { watch: "roster" });
    await live(ann, watcher);
    const [annSees, watcherSees] = [record(ann), record(watcher)];
    let counted = 0;
    ann.on("roster", () => counted++);
    server.connections[0]!.cut();
    await until("Ann is back", () => server.connections.length === 3 && ann.state === "live");
    expect(server.last.of("join")[0]).toMatchObject({ presence: "Ann", watch: { since: 101 }, member: 1 });
    expect([ann.member, annSees, watcherSees, counted]).toEqual([1, [], [], 0]);

    server.last.cut();
    rosterOf().say(50, "bob", "Bob");
    await until("Ann is back", () => server.connections.length === 4 && ann.state === "live");
    expect([annSees, counted]).toEqual([["+50 bob Bob first"], 1]);
  });

  test("after the grace period is another membership", async () => {
    const ann = client().join(NAME, { presence: "Ann" });
    await live(ann);
    const seen = record(ann);
    const [lost] = server.connections;
    rosterOf().leave(lost!);
    lost!.cut();
    await until("Ann is back", () => server.connections.length === 2 && ann.state === "live");
    expect(seen).toEqual(["+2 s1 Ann", "-1 s1 Ann"]);
    expect([ann.member, [...ann.roster.members.keys()]]).toEqual([2, [2]]);
  });

  test("while pages are read asks for the whole roster again", async () => {
    rosterOf().pageSize = 2;
    for (let n = 1; n <= 4; n++) rosterOf().say(n + 100, `u${n}`, n);
    server.script = ({ type }) => type === "presence.get";
    const room = client().join(NAME, { watch: "roster" });
    const seen = record(room);
    await until("it asks", () => server.connections[0]?.of("presence.get").length === 1);
    server.script = () => false;
    server.last.cut();
    await until("everybody is known", () => room.roster.isComplete);
    expect(server.last.of("join")[0]!.watch).toBe("roster");
    expect(seen).toEqual(["+101 u1 1 first", "+102 u2 2 first", "+103 u3 3 first", "+104 u4 4 first"]);
  });
});

describe("saying who one is", () => {
  const joins = (): ClientBodies["join"][] => server.connections.flatMap((connection) => connection.of("join"));
  const sets = (): unknown[] => server.connections.flatMap((connection) => connection.of("presence.set").map(({ data }) => data));

  test("before the join replaces what it carries, and resolves with it", async () => {
    const it = new Dormouse(server.url, FAST);
    clients.push(it);
    const room = it.join<unknown, unknown, string>(NAME, { presence: "A" });
    const said = [room.presence("B"), room.presence("C")];
    it.connect();
    await Promise.all(said);
    expect([joins().map(({ presence }) => presence), sets(), namesIn(room)]).toEqual([["C"], [], ["C"]]);
  });

  test("is remembered over a reconnect; null takes the member out", async () => {
    const room = client().join<unknown, unknown, string>(NAME, { watch: "roster" });
    await live(room);
    await room.presence("Ann");
    server.last.cut();
    await until("it is back", () => server.connections.length === 2 && room.state === "live");
    expect([joins()[1]!.presence, namesIn(room)]).toEqual(["Ann", ["Ann"]]);
    await room.presence(null);
    await until("nobody is here", () => room.roster.count === 0);
    server.last.cut();
    await until("it is back", () => server.connections.length === 3 && room.state === "live");
    expect([joins()[2]!.presence, room.roster.count]).toEqual([null, 0]);
  });

  test("often sends the newest, one at a time, and each resolves", async () => {
    const room = client().join<unknown, unknown, number>(NAME, { presence: 0 });
    await live(room);
    await Promise.all([1, 2, 3, 4, 5].map((n) => room.presence(n)));
    expect([sets(), namesIn(room)]).toEqual([[1, 5], [5]]);
  });

  test("without an answer is said by the next join", async () => {
    const room = client().join<unknown, unknown, number>(NAME, { presence: 0 });
    await live(room);
    server.script = ({ type }) => type === "presence.set";
    const said = [room.presence(1), room.presence(2)];
    await until("it was sent", () => sets().length === 1);
    server.last.cut();
    await Promise.all(said);
    expect([joins()[1]!.presence, sets()]).toEqual([2, [1]]);
  });

  test("that is refused for now is said again", async () => {
    const room = client().join<unknown, unknown, number>(NAME, { presence: 0 });
    await live(room);
    server.script = refusing("overloaded", 2, ({ type }) => type === "presence.set");
    await Promise.all([room.presence(1), room.presence(2)]);
    expect(sets()).toEqual([1, 2, 2]);
  });

  test("that is refused for good rejects, and what was said before stays", async () => {
    const room = client().join<unknown, unknown, number>(NAME, { presence: 0 });
    await live(room);
    server.script = refusing("presence_too_large", 1, ({ type }) => type === "presence.set");
    await expect(room.presence(1)).rejects.toMatchObject({ code: "presence_too_large" });
    server.last.cut();
    await until("it is back", () => joins().length === 2);
    expect(joins()[1]!.presence).toBe(0);
  });

  test("is measured here", async () => {
    const it = client();
    const room = it.join<unknown, unknown, string>(NAME);
    await live(room);
    // The header of a text of this length has three bytes.
    await room.presence("x".repeat(1_021));
    await expect(room.presence("x".repeat(1_022))).rejects.toMatchObject({ code: "presence_too_large" });
    expect(sets().length).toBe(1);
    expect(() => it.join("room/other", { presence: "x".repeat(1_022) })).toThrow(expect.objectContaining({ code: "presence_too_large" }));
    await expect(room.presence(Number.NaN as never)).rejects.toMatchObject({ code: "bad_request" });
  });

  test("in a full roster joins without, and gets in when there is a place", async () => {
    rosterOf().isFull = true;
    server.script = refusing("roster_full", 2, ({ type }) => type === "presence.set");
    const room = client().join<unknown, unknown, string>(NAME, { presence: "Ann" });
    await live(room);
    expect(joins().map(({ presence }) => presence)).toEqual(["Ann", null]);
    await until("Ann is in", () => room.roster.members.has(room.member!));
    expect(sets()).toEqual(["Ann", "Ann", "Ann"]);
  });

  test("in a full roster rejects", async () => {
    const room = client().join<unknown, unknown, string>(NAME, { watch: "roster" });
    await live(room);
    server.script = refusing("roster_full", 1, ({ type }) => type === "presence.set");
    await expect(room.presence("Ann")).rejects.toMatchObject({ code: "roster_full" });
    await until("Ann is in", () => room.roster.members.has(room.member!));
  });

  test("ends with the room", async () => {
    const it = new Dormouse(server.url, FAST);
    clients.push(it);
    const room = it.join<unknown, unknown, string>(NAME);
    const said = room.presence("Ann");
    void room.leave();
    await expect(said).rejects.toMatchObject({ code: "left" });
    await expect(room.presence("Ann")).rejects.toMatchObject({ code: "left" });
    server.script = ({ type }) => type === "join";
    const other = it.join<unknown, unknown, string>("room/other");
    const waits = other.presence("Ann");
    it.connect();
    await until("it was sent", () => joins().length === 1);
    it.disconnect();
    await expect(waits).rejects.toMatchObject({ code: "disconnected" });
  });
});

describe("asking", () => {
  test("reads pages and counts, whatever is watched", async () => {
    for (let n = 1; n <= 5; n++) rosterOf().say(n + 100, `u${n % 2}`, n);
    const room = client().join<unknown, unknown, number>(NAME);
    expect(await room.count()).toEqual({ members: 5, users: 2 });
    const first = await room.readRoster({ limit: 3 });
    expect(first).toMatchObject({ version: 105, count: 5, users: 2, more: true });
    expect(first.members.map(({ data }) => data)).toEqual([1, 2, 3]);
    const rest = await room.readRoster({ limit: 3, after: first.members.at(-1)!.member });
    expect([rest.members.map(({ member }) => member), rest.more]).toEqual([[104, 105], false]);
    expect(room.roster.members.size).toBe(0);
    await room.leave();
    await expect(room.count()).rejects.toMatchObject({ code: "left" });
  });
});
