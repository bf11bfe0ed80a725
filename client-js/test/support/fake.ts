// For tests with a server that does as it is told: one for each test, and clients that end with it. Whoever imports this has
// the hooks.
import { afterEach, beforeEach } from "vitest";
import { WebSocket } from "ws";
import { Dormouse, type DormouseError, type DormouseOptions } from "../../src/index.js";
import { FakeServer } from "./fake-server.js";

export const FAST = { WebSocket, minReconnectDelay: 5, maxReconnectDelay: 20, timeout: 2_000 };

export let server: FakeServer;
/** To be disconnected after the test. */
export let clients: Dormouse[];

beforeEach(async () => {
  server = await FakeServer.start();
  clients = [];
});
afterEach(async () => {
  for (const client of clients) client.disconnect();
  await server.stop();
});

/** Another server, in the place of one that has stopped. */
export async function startAgain(port: number): Promise<void> {
  server = await FakeServer.start(port);
}

/** A client that connects, with the errors that it told. */
export function client(options: DormouseOptions = {}): Dormouse & { errors: DormouseError[] } {
  const client = Object.assign(new Dormouse(server.url, { ...FAST, ...options }), { errors: [] as DormouseError[] });
  client.on("error", (error) => client.errors.push(error));
  clients.push(client);
  client.connect();
  return client;
}
