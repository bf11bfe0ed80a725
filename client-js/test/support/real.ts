// Hooks for tests with the real server: all tests of a file share one server and a proxy in front of it, and the clients
// of a test are disconnected at its end.
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { WebSocket } from "ws";
import { Dormouse, type DormouseOptions } from "../../src/index.js";
import { Proxy } from "./proxy.js";
import { RealServer } from "./server.js";

export let server: RealServer;
export let proxy: Proxy;
/** The clients that are disconnected after the test. */
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

/** A client that connects. An error that it reports fails the test. */
export function client(options: DormouseOptions = {}, url = server.url): Dormouse {
  const client = new Dormouse(url, { WebSocket, minReconnectDelay: 20, maxReconnectDelay: 200, ...options });
  client.on("error", (error) => expect.unreachable(error.message));
  clients.push(client);
  client.connect();
  return client;
}

/** A name that no other test uses. */
export const fresh = (): string => `room/test-${++rooms}`;
