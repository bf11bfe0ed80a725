// Hooks for tests with a scripted server: each test has its own server, and its clients are disconnected at its end.
import { afterEach, beforeEach } from "vitest";
import { WebSocket } from "ws";
import { Dormouse, type DormouseError, type DormouseOptions } from "../../src/index.js";
import { FakeServer } from "./fake-server.js";

export const FAST = { WebSocket, minReconnectDelay: 5, maxReconnectDelay: 20, timeout: 2_000 };

export let server: FakeServer;
/** The clients that are disconnected after the test. */
export let clients: Dormouse[];

beforeEach(async () => {
  server = await FakeServer.start();
  clients = [];
});
afterEach(async () => {
  for (const client of clients) client.disconnect();
  await server.stop();
});

/** Starts a server in place of one that has stopped. */
export async function startAgain(port: number): Promise<void> {
  server = await FakeServer.start(port);
}

/** A client that connects, and the errors that it reported. */
export function client(options: DormouseOptions = {}): Dormouse & { errors: DormouseError[] } {
  const client = Object.assign(new Dormouse(server.url, { ...FAST, ...options }), { errors: [] as DormouseError[] });
  client.on("error", (error) => client.errors.push(error));
  clients.push(client);
  client.connect();
  return client;
}
