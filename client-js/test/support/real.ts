// For tests with the real server: one for all tests of a file, also behind a proxy, and clients that end with their test.
// Whoever imports this has the hooks.
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { WebSocket } from "ws";
import { Dormouse, type DormouseOptions } from "../../src/index.js";
import { Proxy } from "./proxy.js";
import { RealServer } from "./server.js";

export let server: RealServer;
export let proxy: Proxy;
/** To be disconnected after the test. */
export let clients: Dormouse[] = [];
let rooms = 0;

beforeAll(async () => {
  server = await RealServer.start();
  proxy = await Proxy.start(server.port);
});
afterEach(() => {
  for (const client of clients) client.disconnect();
  clients = [];
});
afterAll(async () => {
  await proxy?.stop();
  await server?.remove();
});

/** A client that connects, and whose errors fail the test. */
export function client(options: DormouseOptions = {}, url = server.url): Dormouse {
  const client = new Dormouse(url, { WebSocket, minReconnectDelay: 20, maxReconnectDelay: 200, ...options });
  client.on("error", (error) => expect.unreachable(error.message));
  clients.push(client);
  client.connect();
  return client;
}

/** A name that no other test uses. */
export const fresh = (): string => `room/test-${++rooms}`;
