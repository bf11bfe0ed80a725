import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { WebSocketServer, type WebSocket } from "ws";
import { decode, encode, type Encoding } from "../../src/codec.js";
import {
  CLIENT_FIELDS,
  SERVER_FIELDS,
  type ClientBodies,
  type ClientMessage,
  type From,
  type Position,
  type ResetReason,
  type RoomEvent,
  type ServerMessage,
} from "../../src/messages.js";
import { FakeRoster } from "./fake-roster.js";

/** An object: its log in memory, and its roster. */
export interface FakeLog {
  object: number;
  epoch: number;
  trimmed: number;
  events: RoomEvent[];
  readonly roster: FakeRoster;
}

/** A script may answer a message in place of the server; it then returns true. */
export type Script = (message: ClientMessage, from: FakeConnection) => boolean;

/** One client's connection, as the server sees it. */
export class FakeConnection {
  readonly received: ClientMessage[] = [];
  readonly members = new Set<number>();

  constructor(
    readonly socket: WebSocket,
    private readonly raw: Socket,
    readonly session: string,
    readonly token: string | null,
    private readonly encoding: Encoding,
  ) {}

  send(message: ServerMessage): void {
    this.socket.send(encode(this.encoding, SERVER_FIELDS, message));
  }

  read(data: Buffer, isBinary: boolean): ClientMessage {
    const message = decode(this.encoding, CLIENT_FIELDS, isBinary ? new Uint8Array(data) : data.toString());
    if (!message) throw new Error("the client sent something that is not a message");
    this.received.push(message);
    return message;
  }

  /** Closes the TCP connection without a close frame. */
  cut(): void {
    this.raw.destroy();
  }

  of<Type extends keyof ClientBodies>(type: Type): ClientBodies[Type][] {
    return this.received.filter((message) => message.type === type).map(({ body }) => body as ClientBodies[Type]);
  }
}

/** A simple server of the protocol in this process. A test can script its answers. */
export class FakeServer {
  readonly connections: FakeConnection[] = [];
  readonly logs = new Map<string, FakeLog>();
  /** The URLs of the ordinary HTTP requests. */
  readonly requests: string[] = [];
  limits = {
    message_bytes: 65_536,
    joins: 128,
    in_flight: 256,
    history_events: 1_000,
    presence_bytes: 1_024,
    roster_members: 500,
  };
  pingIntervalMs = 25_000;
  script: Script = () => false;
  /** The status of the answer to a handshake, if it is refused. */
  handshakeStatus: number | null = null;
  /** The number of newest events whose keys the server remembers. */
  keyWindow = Infinity;
  /** Closes the next connections with this code instead of a welcome. */
  refuse: { code: number; reason: string } | null = null;
  #sessions = 0;
  #time = 1_800_000_000_000;

  private constructor(readonly http: Server) {
    const refusal = (path = "/"): number | null => (path.startsWith("/v1/connect") ? this.handshakeStatus : 404);
    const sockets = new WebSocketServer({
      server: http,
      handleProtocols: ([first]) => first ?? false,
      verifyClient: ({ req }, done) => {
        const status = refusal(req.url);
        done(status === null, status ?? undefined);
      },
    });
    // An ordinary request is not a handshake.
    http.on("request", (request, response) => {
      this.requests.push(request.url ?? "");
      response.writeHead(refusal(request.url) ?? 426).end();
    });
    sockets.on("connection", (socket, request) => {
      const token = new URL(request.url!, "http://fake").searchParams.get("session");
      const session = token?.replace("token-", "") ?? `s${++this.#sessions}`;
      const encoding = socket.protocol === "dormouse.v1.msgpack" ? "msgpack" : "json";
      this.#connected(new FakeConnection(socket, request.socket, session, token, encoding));
    });
  }

  static async start(port = 0): Promise<FakeServer> {
    const http = createServer();
    const server = new FakeServer(http);
    await new Promise<void>((resolve) => http.listen(port, "127.0.0.1", resolve));
    return server;
  }

  get port(): number {
    return (this.http.address() as AddressInfo).port;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`;
  }

  get last(): FakeConnection {
    return this.connections.at(-1)!;
  }

  async stop(): Promise<void> {
    for (const connection of this.connections) connection.cut();
    await new Promise((resolve) => this.http.close(resolve));
  }

  log(name: string): FakeLog {
    let log = this.logs.get(name);
    if (log) return log;
    const object = this.logs.size + 1;
    this.logs.set(name, (log = { object, epoch: 7, trimmed: 0, events: [], roster: new FakeRoster(object) }));
    return log;
  }

  /** Stores and delivers an event, as if another client had published it. */
  append(name: string, data: unknown, more: Partial<RoomEvent> = {}): RoomEvent {
    const log = this.log(name);
    const offset = log.trimmed + log.events.length + 1;
    const event: RoomEvent = { offset, time: this.#time++, sender: "other", kind: "message", data, ...more };
    log.events.push(event);
    this.#toMembers(log, { type: "events", body: { object: log.object, events: [event] } });
    return event;
  }

  #toMembers(log: FakeLog, message: ServerMessage): void {
    for (const connection of this.connections) if (connection.members.has(log.object)) connection.send(message);
  }

  #connected(connection: FakeConnection): void {
    this.connections.push(connection);
    connection.socket.on("close", (code) => {
      connection.members.clear();
      for (const { roster } of this.logs.values()) {
        if (code === 1000) roster.leave(connection);
        else roster.lost(connection);
      }
    });
    connection.socket.on("error", () => {});
    if (this.refuse) return connection.socket.close(this.refuse.code, this.refuse.reason);
    const { session } = connection;
    const ping_interval_ms = this.pingIntervalMs;
    connection.send({
      type: "welcome",
      body: { session, token: `token-${session}`, server: "fake", ping_interval_ms, limits: this.limits },
    });
    connection.socket.on("message", (data, isBinary) => {
      const message = connection.read(data as Buffer, isBinary);
      if (!this.script(message, connection)) this.answer(message, connection);
    });
  }

  /** What the server does without a script. */
  answer({ type, body }: ClientMessage, to: FakeConnection): void {
    if (type === "ping" || type === "auth") return to.send({ type: "done", body: { id: body.id } });
    if (type === "join") return this.#join(body, to);
    const log = [...this.logs.values()].find(({ object }) => object === body.object)!;
    if (type === "leave") {
      to.members.delete(body.object);
      log.roster.leave(to);
      to.send({ type: "done", body: { id: body.id } });
    } else if (type === "publish") {
      const head = log.trimmed + log.events.length;
      const oldest = head - this.keyWindow;
      const before = log.events.find(({ offset, sender, key }) => offset > oldest && sender === to.session && key === body.key);
      if (!before && body.after !== undefined && body.after < oldest) {
        return to.send({ type: "error", body: { id: body.id, code: "key_expired", message: "the key is too old" } });
      }
      const name = [...this.logs].find(([, other]) => other === log)![0];
      const more = { sender: to.session, kind: body.kind, ...(body.key !== undefined && { key: body.key }) };
      const { offset, time } = before ?? this.append(name, body.data, more);
      to.send({ type: "published", body: { id: body.id, offset, time, duplicate: before !== undefined } });
    } else if (type === "signal") {
      const signal = { sender: to.session, data: body.data, ...(body.key !== undefined && { key: body.key }) };
      this.#toMembers(log, { type: "signals", body: { object: log.object, signals: [signal] } });
    } else if (type === "presence.set") {
      log.roster.set(to, body.data);
      to.send({ type: "done", body: { id: body.id } });
    } else if (type === "presence.get") {
      to.send({ type: "roster", body: log.roster.read(body) });
    } else {
      this.#history(body, log, to);
    }
  }

  #join(body: ClientBodies["join"], to: FakeConnection): void {
    const { id, object: name, from } = body;
    const log = this.log(name);
    if (body.presence != null && log.roster.isFull) {
      return to.send({ type: "error", body: { id, code: "roster_full", message: "the roster is full" } });
    }
    const member = log.roster.join(body, to);
    const head = log.trimmed + log.events.length;
    const start = startOf(log, from, head);
    to.members.add(log.object);
    const { object, epoch, trimmed } = log;
    to.send({ type: "joined", body: { id, object, epoch, head, member, ...start } });
    log.roster.greet(to);
    const events = log.events.slice(start.from - trimmed);
    if (events.length > 0) to.send({ type: "events", body: { object, events } });
    to.send({ type: "caught_up", body: { object, offset: head } });
  }

  #history({ id, after, before, limit, reverse }: ClientBodies["history"], log: FakeLog, to: FakeConnection): void {
    const events = log.events.filter(({ offset }) => offset > (after ?? 0) && offset < (before ?? Infinity));
    if (reverse) events.reverse();
    const page = events.slice(0, limit ?? this.limits.history_events);
    to.send({ type: "history", body: { id, epoch: log.epoch, more: page.length < events.length, events: page } });
  }
}

function startOf(log: FakeLog, from: From, head: number): { from: number; resumed: boolean; reset?: ResetReason } {
  if (from === "now") return { from: head, resumed: false };
  if (from === "all") return { from: log.trimmed, resumed: false };
  if ("last" in from) return { from: Math.max(log.trimmed, head - from.last), resumed: false };
  const reset = resetReason(log, from.after, head);
  return reset ? { from: log.trimmed, resumed: false, reset } : { from: from.after.offset, resumed: true };
}

function resetReason(log: FakeLog, { epoch, offset }: Position, head: number): ResetReason | null {
  if (epoch !== log.epoch) return "other_epoch";
  if (offset > head) return "ahead";
  return offset < log.trimmed ? "trimmed" : null;
}
