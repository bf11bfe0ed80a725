import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { Dormouse } from "../../src/index.js";
import { RealServer } from "../support/server.js";
import { until } from "../support/until.js";

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start();
});
afterAll(() => server?.remove());

test("what was acknowledged before a join is not news to it", async () => {
  const [writer, reader] = [new Dormouse(server.url, { WebSocket }), new Dormouse(server.url, { WebSocket })];
  writer.connect();
  reader.connect();
  await Promise.all([writer.ready(), reader.ready()]);
  const late: string[] = [];
  // Many times, because the interval between an acknowledgement and the next action of the server is short.
  for (let n = 0; n < 500; n++) {
    const written = writer.join(`room/ack-${n}`);
    await written.publish("before");
    const room = reader.join(written.name, { from: "now" });
    room.on("event", ({ offset }) => late.push(`event ${offset} of ${room.name}`));
    await until("live", () => room.state === "live");
    await Promise.all([written.leave(), room.leave()]);
  }
  expect(late).toEqual([]);
  writer.disconnect();
  reader.disconnect();
});
