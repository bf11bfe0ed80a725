import { expect, test } from "vitest";
import type { Room } from "../../src/index.js";
import { client, fresh, proxy } from "../support/real.js";
import { until } from "../support/until.js";

const live = (...rooms: Room[]): Promise<void> => until("every room is live", () => rooms.every(({ state }) => state === "live"));

/** More events than the server remembers keys of. */
const MANY = 10_001;

async function publishMany(room: Room): Promise<void> {
  for (let sent = 0; sent < MANY; sent += 1_000) {
    await Promise.all(Array.from({ length: Math.min(1_000, MANY - sent) }, () => room.publish(null)));
  }
}

test("a publish whose acknowledgement is lost is stored once, however much others publish before the retry", async () => {
  const name = fresh();
  const room = client({}, proxy.url).join(name);
  const other = client().join(name);
  await live(room, other);
  const stored = new Promise((resolve) => other.on("event", resolve));
  proxy.mute();
  const published = room.publish("mine", { key: "k" });
  await stored;
  await publishMany(other);
  proxy.cut();
  expect(await published).toMatchObject({ offset: 1, duplicate: true });
  expect(await other.publish("last")).toMatchObject({ offset: MANY + 2 });
});

test("a publish that was lost is stored, however much others publish before the retry", async () => {
  const name = fresh();
  const room = client({}, proxy.url).join(name);
  const other = client().join(name);
  await live(room, other);
  proxy.isClosed = true;
  proxy.cut();
  const published = room.publish("mine");
  await publishMany(other);
  proxy.isClosed = false;
  expect(await published).toMatchObject({ offset: MANY + 1, duplicate: false });
});

test("a publish and a leave in one go: the publish is stored and acknowledged", async () => {
  const it = client();
  for (let times = 0; times < 20; times++) {
    const room = it.join(fresh());
    await live(room);
    const published = room.publish("mine");
    await Promise.all([room.leave(), expect(published).resolves.toMatchObject({ offset: 1 })]);
  }
});

test("a leave without a connection takes the member out of the roster after the reconnect, before the grace period ends", async () => {
  const name = fresh();
  const it = client({}, proxy.url);
  const room = it.join(name, { presence: { name: "Ada" } });
  const other = client().join(name, { watch: "roster" });
  await live(room, other);
  await until("the member is there", () => other.roster.count === 1);
  proxy.isClosed = true;
  proxy.cut();
  await until("the connection is lost", () => room.state === "joining");
  await room.leave();
  proxy.isClosed = false;
  // The grace period is 10 s.
  await until("the member left", () => other.roster.count === 0, 8_000);
  expect(it.state).toBe("connected");
});

test("a second join with presence on the same connection watches the roster and misses no event", async () => {
  const name = fresh();
  const it = client();
  const room = it.join<number>(name);
  const seen: number[] = [];
  room.on("event", ({ data }) => seen.push(data));
  const other = client().join<number>(name);
  await live(room, other);
  const published = Array.from({ length: 200 }, (_, n) => {
    if (n === 100) it.join(name, { presence: { name: "Ada" } });
    return n % 2 === 0 ? other.publish(n) : room.publish(n);
  });
  await Promise.all(published);
  await until("all came", () => seen.length === 200);
  await until("the roster came", () => room.roster.isComplete && room.roster.count === 1);
  expect([...seen].sort((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, n) => n));
  await other.leave();
});
