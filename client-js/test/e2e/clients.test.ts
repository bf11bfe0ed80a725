// Third-party WebSocket clients against the echo of the server.
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket as Ws, type ClientOptions } from "ws";
import { ECHO_SERVERS, echoUrl, exchange, IN_ORDER, SIZES } from "../support/echo.js";
import { RealServer } from "../support/server.js";

const AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

describe.each(ECHO_SERVERS)("a server %s", (_, settings) => {
  const compresses = settings.DORMOUSE_COMPRESSION === "true";
  let server: RealServer;
  beforeAll(async () => void (server = await RealServer.start(settings)));
  afterAll(() => server?.remove());

  const offers: [string, ClientOptions, string][] = [
    ["that offers nothing", { perMessageDeflate: false }, ""],
    ["that offers compression", { perMessageDeflate: { threshold: 0 } }, AGREED],
    [
      "that offers a small window",
      { perMessageDeflate: { threshold: 0, serverMaxWindowBits: 12, clientMaxWindowBits: 9 } },
      `${AGREED}; server_max_window_bits=12`,
    ],
    ["that offers a window too small", { perMessageDeflate: { threshold: 0, serverMaxWindowBits: 9 } }, ""],
  ];

  describe.each(offers)("and Node's ws %s", (_, options, agreed) => {
    async function open(): Promise<Ws> {
      const socket = new Ws(echoUrl(server.port), "dormouse.test.echo", options);
      const upgraded = once(socket, "upgrade");
      await once(socket, "open");
      const [{ headers }] = await upgraded;
      expect(headers["sec-websocket-extensions"] ?? "").toBe(compresses ? agreed : "");
      return socket;
    }

    test("exchange messages of all sizes", async () => {
      class Socket extends Ws {
        constructor(url: string, name: string) {
          super(url, name, options);
        }
      }
      const seen = await exchange(Socket as unknown as typeof WebSocket, echoUrl(server.port), SIZES);
      expect(seen).toMatchObject(IN_ORDER);
    });

    test("exchange fragments and pings, and close with a reason", async () => {
      const socket = await open();
      const came = once(socket, "message");
      const pongs: string[] = [];
      socket.on("pong", (payload: Buffer) => pongs.push(payload.toString()));
      const part = "one of three, ".repeat(100);
      for (const fin of [false, false, true]) {
        socket.send(part, { fin });
        socket.ping(`ping ${fin}`);
      }
      const [data, isBinary] = await came;
      expect([data.toString(), isBinary]).toEqual([part.repeat(3), false]);
      expect(pongs.slice(0, 2)).toEqual(["ping false", "ping false"]);
      socket.close(4001, "goodbye");
      expect((await once(socket, "close"))[0]).toBe(1000);
    });
  });

  test("and Node's own WebSocket exchange messages of all sizes", ({ skip }) => {
    const flag = typeof globalThis.WebSocket === "undefined" ? ["--experimental-websocket"] : [];
    const script = `const see = ${exchange}; console.log(JSON.stringify(await see(WebSocket, "${echoUrl(server.port)}", ${JSON.stringify(SIZES)})))`;
    const args = [...flag, "--no-warnings", "--input-type=module", "--eval", script];
    const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 25_000 });
    skip(status === 9, "this Node.js has no WebSocket of its own");
    expect(stderr).toBe("");
    const seen = JSON.parse(stdout);
    expect(seen).toMatchObject(IN_ORDER);
    if (!compresses) expect(seen.extensions).toBe("");
  });
});
