/** Message sizes in bytes: those where the frame header changes, and some that take several reads. */
export const SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 300_000];

/** What a client received from the echo. */
export interface Exchanged {
  readonly extensions: string;
  /** The number of messages that came back, and the ones that had changed. */
  readonly messages: number;
  readonly changed: string[];
  readonly code: number;
  readonly wasClean: boolean;
}

/**
 * Talks to the server's echo with the interface that all WebSockets have in common, as text and as bytes, and closes. Uses
 * nothing from around it, so that it can be taken elsewhere as source.
 */
export async function exchange(Socket: typeof WebSocket, url: string, sizes: number[]): Promise<Exchanged> {
  const socket = new Socket(url, "dormouse.test.echo");
  socket.binaryType = "arraybuffer";
  const failed = new Promise<never>((_, reject) => {
    socket.addEventListener("error", () => reject(new Error("the connection failed")));
  });
  const next = <Name extends keyof WebSocketEventMap>(name: Name): Promise<WebSocketEventMap[Name]> => {
    const came = new Promise<WebSocketEventMap[Name]>((resolve) => {
      socket.addEventListener(name, resolve, { once: true });
    });
    return Promise.race([came, failed]);
  };
  await next("open");
  const changed: string[] = [];
  let messages = 0;
  for (const size of sizes) {
    const text = "Schlaf, Mäuschen! ".repeat(size / 18 + 1).slice(0, size);
    const bytes = Uint8Array.from({ length: size }, (_, n) => (n * n) % 251);
    for (const message of [text, bytes]) {
      const came = next("message");
      socket.send(message);
      const { data } = await came;
      const isSame =
        typeof data === "string"
          ? data === message
          : typeof message !== "string" &&
            data.byteLength === size &&
            new Uint8Array(data).every((byte, index) => byte === message[index]);
      if (!isSame) changed.push(`${typeof message} of ${size}`);
      messages += 1;
    }
  }
  const closed = next("close");
  socket.close(4001, "goodbye");
  const { code, wasClean } = await closed;
  return { extensions: socket.extensions, messages, changed, code, wasClean };
}

/** What every client must receive. */
export const IN_ORDER = { messages: 2 * SIZES.length, changed: [], code: 1000, wasClean: true };

/** The settings of a server with an echo for messages of these sizes, with and without compression. */
export const ECHO_SERVERS: [string, Record<string, string>][] = ["false", "true"].map((compression) => [
  compression === "true" ? "with compression" : "without compression",
  {
    DORMOUSE_COMPRESSION: compression,
    DORMOUSE_TEST_CONTROLS: "true",
    DORMOUSE_LIMITS_MESSAGE_BYTES: "1MiB",
    DORMOUSE_LIMITS_OUTBOUND_BYTES: "1MiB",
  },
]);

export const echoUrl = (port: number): string => `ws://127.0.0.1:${port}/v1/connect`;
