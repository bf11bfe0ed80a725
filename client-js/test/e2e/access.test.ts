import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { Dormouse, type DormouseError, type DormouseOptions } from "../../src/index.js";
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
  expect([error.code, error.closeCode]).toEqual(["closed", 3501]);
  expect(error.message).toContain("this server wants a token");
});

test("a token of another key is refused", async () => {
  const token = server.token("ada", ["room/a: join"]);
  const error = await refusal(client({ token: token.slice(0, -6) + "AAAAAA" }));
  expect(error.message).toContain("signature is wrong");
});

test.each(["json", "msgpack"] as const)("a client may do what its token's grants say, with %s", async (encoding) => {
  const ada = client({ encoding, token: server.token("ada", ["room/team-*: join, publish", "room/read: join"]) });
  const [team, read, other] = [ada.join("room/team-a"), ada.join("room/read"), ada.join("room/other")];
  await until("the two are live", () => team.state === "live" && read.state === "live");
  await until("the other is refused", () => other.state === "failed");
  expect((await team.publish("hello")).duplicate).toBe(false);
  await expect(read.publish("hello")).rejects.toMatchObject({ code: "forbidden" });
});

test("a connection whose token expires continues with the next token", async () => {
  let asked = 0;
  const next = (): string => {
    asked += 1;
    return server.token("ada", ["room/a: join, publish"], asked === 1 ? "2s" : "1h");
  };
  const ada = client({ token: next });
  const room = ada.join("room/a");
  await until("it is live", () => room.state === "live");
  await room.publish("before");
  const events: unknown[] = [];
  room.on("event", ({ data }) => events.push(data));
  await until("it has connected again", () => asked === 2 && room.state === "live");
  await room.publish("after");
  await until("the events arrive", () => events.includes("after"));
});
