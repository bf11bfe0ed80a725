import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { Dormouse, Unauthorized, type DormouseError, type DormouseOptions, type RoomEvent } from "../../src/index.js";
import { RealServer } from "../support/server.js";
import { until } from "../support/until.js";

let server: RealServer;
const open: Dormouse[] = [];

beforeAll(async () => {
  // Without a leeway a token ends at its second.
  server = await RealServer.startWithKey({ DORMOUSE_AUTH_LEEWAY: "0s" });
});
afterEach(() => {
  for (const client of open.splice(0)) client.disconnect();
});
afterAll(() => server.remove());

function client(options: DormouseOptions = {}): Dormouse {
  const client = new Dormouse(server.url, { WebSocket, minReconnectDelay: 10, ...options });
  open.push(client);
  client.connect();
  return client;
}

const refusal = async (client: Dormouse): Promise<DormouseError> =>
  client.ready().then(
    () => expect.fail("it is connected"),
    (error: DormouseError) => error,
  );

test("without a token the client stops and says what is missing", async () => {
  const error = await refusal(client());
  expect([error.code, error.closeCode]).toEqual(["unauthorized", 3501]);
  expect(error.message).toContain("this server wants a token");
});

test("a token of another key is refused", async () => {
  const token = server.token("ada", ["room/a: join"]);
  const error = await refusal(client({ token: token.slice(0, -6) + "AAAAAA" }));
  expect(error.message).toContain("signature is wrong");
});

test.each(["json", "msgpack"] as const)("a client may do what its token's grants say, with %s", async (encoding) => {
  const ada = client({ encoding, token: server.token("ada", ["room/team-*: join, publish, history", "room/read: join"]) });
  const [team, read, other] = [ada.join("room/team-a"), ada.join("room/read"), ada.join("room/other")];
  await until("the two are live", () => team.state === "live" && read.state === "live");
  await until("the other is refused", () => other.state === "failed");
  const event = new Promise<RoomEvent>((resolve) => team.on("event", resolve));
  expect((await team.publish("hello")).duplicate).toBe(false);
  expect(await event).toMatchObject({ data: "hello", user: "ada", sender: ada.session!.id });
  expect((await team.history()).events.at(-1)).toEqual(await event);
  await expect(read.publish("hello")).rejects.toMatchObject({ code: "forbidden" });
});

test("a connection goes on with a new token before the first one expires", async () => {
  const tokens = ["1h", "5s"].map((expires) => server.token("ada", ["room/a: join, publish"], expires));
  let asked = 0;
  let connected = 0;
  const next = async (): Promise<string> => {
    asked += 1;
    await Promise.resolve();
    return asked === 1 ? tokens[1]! : tokens[0]!;
  };
  const ada = client({ getToken: next });
  ada.on("welcome", () => (connected += 1));
  const room = ada.join("room/a");
  await until("it has asked for the next token", () => asked === 2);
  // Another client keeps the first token: the server closes its connection when that has expired.
  const other = client({ token: tokens[1]! });
  await until("the first token has expired", () => other.state === "closed");
  await room.publish("after");
  expect([asked, connected]).toEqual([2, 1]);
});

test("the client stops when the option token throws Unauthorized, and tries again after other errors", async () => {
  let asked = 0;
  const next = async (): Promise<string> => {
    asked += 1;
    if (asked === 1) throw new Error("the network is down");
    throw new Unauthorized();
  };
  const error = await refusal(client({ getToken: next }));
  expect([asked, error.code]).toEqual([2, "unauthorized"]);
});

test("a new token that allows less ends the rooms that it does not allow", async () => {
  const tokens = [server.token("ada", ["room/kept: join, publish"]), server.token("ada", ["room/*: join, publish"], "5s")];
  let asked = 0;
  const ada = client({ getToken: () => (++asked === 1 ? tokens[1]! : tokens[0]!) });
  const [kept, lost] = [ada.join("room/kept"), ada.join("room/lost")];
  await until("both are live", () => kept.state === "live" && lost.state === "live");
  const ended = new Promise<DormouseError | undefined>((resolve) => lost.on("state", ({ error }) => resolve(error)));
  expect(await ended).toMatchObject({ code: "forbidden" });
  await kept.publish("still here");
  await expect(lost.publish("gone")).rejects.toMatchObject({ code: "forbidden" });
});

test("a connection whose token expires continues with the next token", async () => {
  let asked = 0;
  const next = (): string => {
    asked += 1;
    // There is no token in time.
    if (asked === 2) throw new Error("the network is down");
    return server.token("ada", ["room/a: join, publish"], asked === 1 ? "2s" : "1h");
  };
  const ada = client({ getToken: next });
  const room = ada.join("room/a");
  await until("it is live", () => room.state === "live");
  await room.publish("before");
  const events: unknown[] = [];
  room.on("event", ({ data }) => events.push(data));
  await until("it has connected again", () => asked >= 3 && room.state === "live");
  await room.publish("after");
  await until("the events arrive", () => events.includes("after"));
});
