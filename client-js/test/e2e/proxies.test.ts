// The configurations of docs/deploy, with real proxies: scripts/setup-proxies installs them.
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { Dormouse, type DormouseOptions } from "../../src/index.js";
import { DeployedProxy, type ProxyName } from "../support/deployed-proxy.js";
import { RealServer } from "../support/server.js";
import { until } from "../support/until.js";

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

/** A server that counts clients by their addresses, and a proxy in front of it. */
async function behind(name: ProxyName, settings: Record<string, string> = {}): Promise<{ server: RealServer; proxy: DeployedProxy }> {
  const server = await RealServer.start({ DORMOUSE_LIVENESS_PING_INTERVAL: "1s", DORMOUSE_RATES_TRUSTED_PROXIES: "127.0.0.1", ...settings });
  undo.push(() => server.remove());
  const proxy = await DeployedProxy.start(name, server.port, 4);
  undo.push(() => proxy.stop());
  return { server, proxy };
}

function client(url: string, WebSocketClass: DormouseOptions["WebSocket"] = WebSocket): Dormouse {
  const it = new Dormouse(url, { WebSocket: WebSocketClass, minReconnectDelay: 20, maxReconnectDelay: 200 });
  undo.push(() => it.disconnect());
  it.connect();
  return it;
}

/** The HTTP status of a handshake from another address of this machine. */
function handshake(url: string, localAddress: string, headers: Record<string, string> = {}): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${url.replace("http", "ws")}/v1/connect`, { localAddress, headers });
    undo.push(() => socket.terminate());
    socket.on("open", () => resolve(101));
    socket.on("unexpected-response", (_request, response) => resolve(response.statusCode!));
    socket.on("error", () => {});
  });
}

describe.each(["nginx", "haproxy", "caddy"] as const)("behind %s", (name) => {
  test("an idle connection stays, because the server pings it", async () => {
    const { proxy } = await behind(name);
    let pings = 0;
    class Counting extends WebSocket {
      constructor(...args: ConstructorParameters<typeof WebSocket>) {
        super(...args);
        this.on("ping", () => (pings += 1));
      }
    }
    const ada = client(proxy.url, Counting);
    let welcomes = 0;
    ada.on("welcome", () => (welcomes += 1));
    const room = ada.join("room/a");
    await until("it is live", () => room.state === "live");
    // One a second: so the connection is idle for longer than the proxy allows silence.
    await until("the server has pinged six times", () => pings >= 6, 20_000);
    expect(await room.publish("still here")).toMatchObject({ offset: 1 });
    expect(welcomes).toBe(1);
  });

  test("each client has its own address, and none can choose another one", async () => {
    const { proxy } = await behind(name, { DORMOUSE_RATES_ON_LOOPBACK: "true", DORMOUSE_RATES_ADDRESS_CONNECTS: "1/h burst 1" });
    expect(await handshake(proxy.url, "127.0.0.2")).toBe(101);
    expect(await handshake(proxy.url, "127.0.0.2")).toBe(429);
    expect(await handshake(proxy.url, "127.0.0.2", { "X-Forwarded-For": "9.9.9.9" })).toBe(429);
    expect(await handshake(proxy.url, "127.0.0.3")).toBe(101);
  });

  test("clients resume without a loss when the proxy is reloaded", async () => {
    const { server, proxy } = await behind(name);
    const [ada, bob] = [client(proxy.url), client(server.url)];
    let welcomes = 0;
    ada.on("welcome", () => (welcomes += 1));
    const [reads, writes] = [ada.join<number>("room/a"), bob.join<number>("room/a")];
    const got: number[] = [];
    reads.on("event", ({ data }) => got.push(data));
    await until("both are live", () => reads.state === "live" && writes.state === "live");
    let sent = 0;
    const publish = async (): Promise<void> => {
      sent += 1;
      await writes.publish(sent);
    };
    await publish();
    await proxy.reload();
    const isBack = (): boolean => welcomes > 1 && reads.state === "live";
    for (const end = performance.now() + 20_000; !isBack() && performance.now() < end; ) await publish();
    expect(isBack()).toBe(true);
    await publish();
    await until("everything is there", () => got.length >= sent);
    expect(got).toEqual(Array.from({ length: sent }, (_, index) => index + 1));
  });
});
