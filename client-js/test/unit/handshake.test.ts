import { afterEach, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { Dormouse, type DormouseError, type WebSocketClass } from "../../src/index.js";
import { FAST, client, clients, server } from "../support/fake.js";
import { until } from "../support/until.js";

/** A WebSocket that hides why a handshake failed, as that of a browser does. */
class SilentSocket extends WebSocket {
  constructor(url: string, protocols: string[]) {
    super(url, protocols);
    Object.defineProperty(this, "onerror", { value: null, writable: true });
    this.on("error", () => {});
  }
}

const SOCKETS = [
  ["a WebSocket that tells the status", WebSocket],
  ["a WebSocket that hides the status", SilentSocket],
] as const;

afterEach(() => void vi.unstubAllGlobals());

/** Collects the errors of the state events. */
function watched(url: string, Socket: WebSocketClass): { it: Dormouse; told: DormouseError[] } {
  const it = new Dormouse(url, { ...FAST, WebSocket: Socket });
  clients.push(it);
  const told: DormouseError[] = [];
  it.on("state", ({ error }) => error && told.push(error));
  it.connect();
  return { it, told };
}

test.each(SOCKETS)("a wrong path closes the client and is told as 404: %s", async (_name, Socket) => {
  const { it, told } = watched(`${server.url}/wrong`, Socket);
  const published = it.join("room/lobby").publish(1);
  await expect(it.ready()).rejects.toMatchObject({ code: "closed", message: expect.stringContaining("HTTP 404") as string });
  await expect(published).rejects.toMatchObject({ code: "closed" });
  expect([it.state, told.length]).toEqual(["closed", 1]);
});

test.each(SOCKETS)("a handshake that the server does not accept closes the client and is told as 400: %s", async (_name, Socket) => {
  server.handshakeStatus = 400;
  const { it } = watched(server.url, Socket);
  await expect(it.ready()).rejects.toMatchObject({ code: "closed", message: expect.stringContaining("HTTP 400") as string });
});

test("a proxy that does not forward the handshake is told as 426", async () => {
  server.handshakeStatus = 426;
  const { it } = watched(server.url, WebSocket);
  await expect(it.ready()).rejects.toMatchObject({ code: "closed", message: expect.stringContaining("HTTP 426") as string });
});

test("where only an ordinary request is answered, the error says so and the client tries again", async () => {
  server.handshakeStatus = 426;
  const { it, told } = watched(server.url, SilentSocket);
  await until("it was told twice", () => told.length > 1);
  expect(told[0]).toMatchObject({ code: "unreachable", message: expect.stringContaining("the WebSocket handshake failed") as string });
  server.handshakeStatus = null;
  await it.ready();
});

test.each(SOCKETS)("an answer that may change is told, and the client tries again: %s", async (_name, Socket) => {
  server.handshakeStatus = 503;
  const { it, told } = watched(server.url, Socket);
  await until("it was told", () => told.length > 0);
  expect(told[0]).toMatchObject({ code: "unreachable", message: expect.stringContaining("HTTP 503") as string });
  server.handshakeStatus = null;
  await it.ready();
});

test("the request that looks for the reason does not carry the session", async () => {
  server.handshakeStatus = 503;
  const it = new Dormouse(server.url, { ...FAST, WebSocket: SilentSocket, session: "secret" });
  clients.push(it);
  it.connect();
  await until("it asked", () => server.requests.length > 0);
  expect(server.requests[0]).toBe("/v1/connect");
});

test("without fetch the client tries again", async () => {
  vi.stubGlobal("fetch", undefined);
  server.handshakeStatus = 404;
  const { it, told } = watched(server.url, SilentSocket);
  await until("it was told", () => told.length > 0);
  expect(told[0]).toMatchObject({ code: "unreachable", closeCode: 1006 });
  server.handshakeStatus = null;
  await it.ready();
});

test("after a connection a 404 is taken for temporary, as during a deployment, and told", async () => {
  const it = client();
  const told: string[] = [];
  it.on("state", ({ error }) => error && told.push(error.message));
  await it.ready();
  server.handshakeStatus = 404;
  server.last.cut();
  await until("it was told", () => told.some((message) => message.includes("404")));
  expect(it.state).toBe("connecting");
  server.handshakeStatus = null;
  await it.ready();
});

test("a disconnect ends the search for the reason", async () => {
  server.handshakeStatus = 404;
  const { it, told } = watched(server.url, SilentSocket);
  vi.stubGlobal("fetch", (_url: string, { signal }: RequestInit) => {
    queueMicrotask(() => it.disconnect());
    return new Promise((_resolve, reject) => signal?.addEventListener("abort", () => reject(new Error("aborted"))));
  });
  await until("disconnected", () => it.state === "disconnected");
  expect(told).toEqual([]);
});
