import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** A TCP proxy in front of a server. A test can reset its connections. */
export class Proxy {
  readonly #sockets = new Set<Socket>();
  /** The connections to the server, and to the client at the other end. */
  readonly #pairs = new Map<Socket, Socket>();
  /** New connections are reset. */
  isClosed = false;

  private constructor(readonly server: Server) {}

  static async start(port: number): Promise<Proxy> {
    const server = createServer();
    const proxy = new Proxy(server);
    server.on("connection", (inner) => {
      if (proxy.isClosed) return inner.resetAndDestroy();
      const outer = connect(port, "127.0.0.1");
      proxy.#pairs.set(outer, inner);
      for (const [socket, other] of [
        [inner, outer],
        [outer, inner],
      ] as const) {
        proxy.#sockets.add(socket);
        socket.pipe(other);
        socket.on("error", () => {});
        socket.on("close", () => {
          proxy.#sockets.delete(socket);
          proxy.#pairs.delete(socket);
          other.destroy();
        });
      }
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** From now on, no client of an existing connection receives anything from the server. */
  mute(): void {
    for (const [outer, inner] of this.#pairs) outer.unpipe(inner).resume();
  }

  /** Resets every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
