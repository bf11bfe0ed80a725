import { describe, expect, test } from "vitest";
import type { Dormouse, Limits, Room } from "../../src/index.js";
import { client, fresh, proxy, server } from "../support/real.js";
import { until } from "../support/until.js";

interface Person {
  readonly name: string;
  readonly bytes?: Uint8Array;
}
type PersonRoom = Room<unknown, unknown, Person>;

const person = (it: Dormouse, room: string, name: string): PersonRoom => it.join(room, { presence: { name } });

/** Collects the presence events of a room, in order. */
function record(room: PersonRoom): string[] {
  const seen: string[] = [];
  room.on("presence", ({ joined, updated, left }) => {
    for (const { data, first } of joined) seen.push(`+ ${data.name}${first ? " first" : ""}`);
    for (const { data } of updated) seen.push(`~ ${data.name}`);
    for (const { data, last } of left) seen.push(`- ${data.name}${last ? " last" : ""}`);
  });
  return seen;
}

const namesIn = ({ roster }: PersonRoom): string[] => [...roster.members.values()].map(({ data }) => data.name).sort();
const knows = (room: PersonRoom, ...names: string[]): Promise<void> =>
  until(`${names.join(", ")} are known`, () => room.roster.isComplete && namesIn(room).join() === names.join());

/** Cuts the connections of the proxy; resolves when the room knows it. */
async function cut(room: PersonRoom): Promise<void> {
  const away = new Promise<void>((resolve) => {
    const off = room.on("state", ({ state }) => {
      if (state !== "joining") return;
      off();
      resolve();
    });
  });
  proxy.cut();
  await away;
}

/** Waits until every room has received all earlier changes. */
async function settle(...rooms: PersonRoom[]): Promise<void> {
  const marker = client().join<unknown, unknown, Person>(rooms[0]!.name);
  await marker.presence({ name: "~" });
  const { member } = marker;
  await until("the marker is seen", () => rooms.every(({ roster }) => roster.members.has(member!)));
  await marker.leave();
  await until("the marker is gone", () => rooms.every(({ roster }) => !roster.members.has(member!)));
}

describe.each([
  ["json", "msgpack"],
  ["msgpack", "json"],
] as const)("one with %s and one with %s", (one, other) => {
  test("see each other come, change and close", async () => {
    const name = fresh();
    const ann = person(client({ encoding: one }), name, "Ann");
    await knows(ann, "Ann");
    const seen = record(ann);
    const it = client({ encoding: other });
    const bob = person(it, name, "Bob");
    await knows(bob, "Ann", "Bob");
    await knows(ann, "Ann", "Bob");
    expect(ann.roster.members.get(bob.member!)).toEqual({ member: bob.member, user: it.session!.id, data: { name: "Bob" } });
    await bob.presence({ name: "Bobby", bytes: new Uint8Array([0, 255]) });
    await knows(ann, "Ann", "Bobby");
    expect(ann.roster.members.get(bob.member!)!.data.bytes).toEqual(new Uint8Array([0, 255]));
    it.disconnect();
    await knows(ann, "Ann");
    expect(seen).toEqual(["+ Bob first", "~ Bobby", "- Bobby last"]);
    expect([ann.roster.count, ann.roster.users]).toEqual([1, 1]);
  });
});

describe("coming and going", () => {
  test("leave and null are told, and what was left can be said again", async () => {
    const name = fresh();
    const ann = person(client(), name, "Ann");
    const bob = person(client(), name, "Bob");
    await knows(ann, "Ann", "Bob");
    const seen = record(ann);
    await bob.presence(null);
    await knows(ann, "Ann");
    await bob.presence({ name: "Bob again" });
    await knows(ann, "Ann", "Bob again");
    await bob.leave();
    await knows(ann, "Ann");
    expect(seen).toEqual(["- Bob last", "+ Bob again first", "- Bob again last"]);
  });

  test.each(["json", "msgpack"] as const)("a reconnect is no news, with %s", async (encoding) => {
    const name = fresh();
    const ann = person(client({ encoding }, proxy.url), name, "Ann");
    const bob = person(client({ encoding }), name, "Bob");
    await knows(ann, "Ann", "Bob");
    await knows(bob, "Ann", "Bob");
    const { member } = ann;
    const [annSees, bobSees] = [record(ann), record(bob)];
    for (let n = 0; n < 3; n++) {
      await cut(ann);
      await until("Ann is back", () => ann.state === "live");
    }
    expect(ann.member).toBe(member);
    await settle(ann, bob);
    expect([annSees, bobSees]).toEqual([
      ["+ ~ first", "- ~ last"],
      ["+ ~ first", "- ~ last"],
    ]);
  });

  test("what changed meanwhile is told after a reconnect", async () => {
    const name = fresh();
    const ann = person(client({}, proxy.url), name, "Ann");
    const [bob, dan] = [person(client(), name, "Bob"), person(client(), name, "Dan")];
    await knows(ann, "Ann", "Bob", "Dan");
    const seen = record(ann);
    proxy.isClosed = true;
    await cut(ann);
    await Promise.all([bob.presence({ name: "Bobby" }), dan.leave()]);
    const eve = person(client(), name, "Eve");
    await knows(eve, "Ann", "Bobby", "Eve");
    proxy.isClosed = false;
    await knows(ann, "Ann", "Bobby", "Eve");
    expect(seen.sort()).toEqual(["+ Eve first", "- Dan last", "~ Bobby"]);
  });

  test("a server that dies and comes back is no news", async () => {
    const name = fresh();
    const [ann, bob] = [person(client(), name, "Ann"), person(client(), name, "Bob")];
    await knows(ann, "Ann", "Bob");
    await knows(bob, "Ann", "Bob");
    const numbers = [ann.member, bob.member];
    const { version } = ann.roster;
    const [annSees, bobSees] = [record(ann), record(bob)];
    await server.kill();
    await until("both are away", () => ann.state === "joining" && bob.state === "joining");
    await server.start();
    await until("both are back", () => ann.state === "live" && bob.state === "live");
    await settle(ann, bob);
    expect([ann.member, bob.member]).toEqual(numbers);
    expect(ann.roster.version).toBeGreaterThan(version!);
    expect([annSees, bobSees]).toEqual([
      ["+ ~ first", "- ~ last"],
      ["+ ~ first", "- ~ last"],
    ]);
  });
});

describe("a user with several tabs", () => {
  test("comes with the first and goes with the last", async () => {
    const name = fresh();
    const ann = person(client(), name, "Ann");
    await knows(ann, "Ann");
    const seen = record(ann);
    const first = client();
    const one = person(first, name, "one");
    await knows(ann, "Ann", "one");
    const second = client({ session: first.session!.token });
    const two = person(second, name, "two");
    await knows(ann, "Ann", "one", "two");
    expect([ann.roster.count, ann.roster.users]).toEqual([3, 2]);
    expect(two.member).not.toBe(one.member);
    expect(second.session!.id).toBe(first.session!.id);
    first.disconnect();
    await knows(ann, "Ann", "two");
    second.disconnect();
    await knows(ann, "Ann");
    expect(seen).toEqual(["+ one first", "+ two", "- one", "- two last"]);
  });
});

describe("a room of many", () => {
  test("can be counted, read in pages and watched", async () => {
    const name = fresh();
    const it = client();
    const limits = await new Promise<Limits>((resolve) => it.on("welcome", ({ limits }) => resolve(limits)));
    const counter = it.join<unknown, unknown, Person>(name, { watch: "count" });
    const asking = client().join<unknown, unknown, Person>(name);
    const seen = record(counter);
    const size = limits.roster_members + 20;
    const members = Array.from({ length: size }, (_, n) =>
      client().join<unknown, unknown, Person>(name, { presence: { name: `p${n}` }, watch: "none" }),
    );
    await until("all are counted", () => counter.roster.count === size, 20_000);
    expect([counter.roster.users, counter.roster.members.size, seen]).toEqual([size, 0, []]);
    expect(await asking.count()).toEqual({ members: size, users: size });

    const first = await asking.readRoster();
    expect([first.members.length, first.count, first.more]).toEqual([limits.roster_members, size, true]);
    const rest = await asking.readRoster({ after: first.members.at(-1)!.member });
    expect([rest.members.length, rest.more]).toEqual([20, false]);
    const numbers = [...first.members, ...rest.members].map(({ member }) => member);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    expect(new Set(numbers)).toEqual(new Set(members.map(({ member }) => member)));

    const late = person(client(), name, "late");
    await until("the late one knows all", () => late.roster.isComplete && late.roster.members.size === size + 1);
    await members[0]!.leave();
    await until("one went", () => late.roster.members.size === size && counter.roster.count === size);
  });
});
