import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Dormouse, type WebSocketLike } from "../../src/index.js";

/** Sockets that a test drives by hand. */
class FakeSocket implements WebSocketLike {
  static all: FakeSocket[] = [];
  binaryType = "";
  onopen: unknown;
  onmessage: unknown;
  onclose: unknown;
  onerror: unknown;
  sent: unknown[] = [];
  closed: number | undefined;

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }
  send(data: unknown): void {
    this.sent.push(JSON.parse(data as string));
  }
  close(code?: number): void {
    this.closed = code;
  }
  receive(message: unknown): void {
    (this.onmessage as (event: unknown) => void)({ data: JSON.stringify(message) });
  }
  /** Ends a connection that was open. */
  end(code: number): void {
    (this.onopen as (event: unknown) => void)({});
    (this.onclose as (event: unknown) => void)({ code, reason: "" });
  }
}

const WELCOME = {
  welcome: {
    session: "s",
    token: "t",
    server: "fake",
    ping_interval_ms: 25_000,
    limits: { message_bytes: 1_000, joins: 8, in_flight: 8, history_events: 8 },
  },
};

let page: EventTarget & { visibilityState: string };
let network: EventTarget;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.999_999);
  FakeSocket.all = [];
  network = new EventTarget();
  page = Object.assign(new EventTarget(), { visibilityState: "visible" });
  vi.stubGlobal("document", page);
  vi.stubGlobal("addEventListener", network.addEventListener.bind(network));
  vi.stubGlobal("removeEventListener", network.removeEventListener.bind(network));
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

function connecting(): Dormouse {
  const client = new Dormouse("http://host/prefix/", { encoding: "json", WebSocket: FakeSocket });
  client.connect();
  return client;
}

test.each([
  ["ws://host:7700", "ws://host:7700/v1/connect"],
  ["ws://host:7700/v1/connect", "ws://host:7700/v1/connect"],
  ["wss://host/v1/connect/", "wss://host/v1/connect"],
  ["https://host/prefix/v1/connect#top", "wss://host/prefix/v1/connect"],
])("the server %s is connected to at %s", (server, url) => {
  new Dormouse(server, { encoding: "json", WebSocket: FakeSocket }).connect();
  expect(FakeSocket.all.map((socket) => socket.url)).toEqual([url]);
});

test.each(["127.0.0.1:7700", "localhost:7700", "ftp://host", "host", ""])("the URL %j is refused with the way to write it", (url) => {
  expect(() => new Dormouse(url, { WebSocket: FakeSocket })).toThrow(
    expect.objectContaining({ code: "bad_request", message: expect.stringContaining("write ws:// or wss://") as string }),
  );
});

test("the address is that of the server, with the session when there is one", () => {
  const client = connecting();
  FakeSocket.all[0]!.receive(WELCOME);
  FakeSocket.all[0]!.end(1006);
  client.connect();
  expect(FakeSocket.all.map(({ url }) => url)).toEqual([
    "ws://host/prefix/v1/connect",
    "ws://host/prefix/v1/connect?session=t",
  ]);
});

test("the state tells when the next attempt comes", () => {
  const client = connecting();
  const states: unknown[] = [];
  client.on("state", ({ state, retryAt }) => states.push([state, retryAt === null ? null : Math.round(retryAt - Date.now())]));
  FakeSocket.all[0]!.end(1006);
  vi.advanceTimersByTime(499);
  expect(FakeSocket.all.length).toBe(1);
  vi.advanceTimersByTime(1);
  expect(FakeSocket.all.length).toBe(2);
  expect(states).toEqual([
    ["connecting", 500],
    ["connecting", null],
  ]);
});

test("a handshake that fails with an error event and no close event is tried again", async () => {
  vi.stubGlobal("fetch", undefined);
  const client = connecting();
  const told = new Promise((resolve) => client.on("state", resolve));
  (FakeSocket.all[0]!.onerror as (event: unknown) => void)({ message: "blocked" });
  expect(await told).toMatchObject({ state: "connecting", error: { code: "unreachable", message: "cannot connect to the server: blocked (1006)" } });
});

test("a network that comes back ends the wait", () => {
  connecting();
  FakeSocket.all[0]!.end(1006);
  network.dispatchEvent(new Event("online"));
  expect(FakeSocket.all.length).toBe(2);
});

test("a page that is looked at again asks whether the server is there, and leaves it when it is not", () => {
  const client = connecting();
  const [socket] = FakeSocket.all as [FakeSocket];
  socket.receive(WELCOME);
  page.visibilityState = "hidden";
  page.dispatchEvent(new Event("visibilitychange"));
  expect(socket.sent).toEqual([]);
  page.visibilityState = "visible";
  page.dispatchEvent(new Event("visibilitychange"));
  expect(socket.sent).toEqual([{ ping: { id: 0 } }]);
  vi.advanceTimersByTime(9_999);
  expect(client.state).toBe("connected");
  vi.advanceTimersByTime(1);
  expect([client.state, socket.closed]).toEqual(["connecting", 4000]);
});

test("after a disconnect nothing wakes the client and no timer is left", () => {
  const client = connecting();
  FakeSocket.all[0]!.receive(WELCOME);
  client.disconnect();
  network.dispatchEvent(new Event("online"));
  expect([FakeSocket.all.length, FakeSocket.all[0]!.closed, vi.getTimerCount()]).toEqual([1, 1000, 0]);
});
