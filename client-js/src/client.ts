import { Connection, type WebSocketClass } from "./connection.js";
import type { Encoding } from "./codec.js";
import { Emitter } from "./emitter.js";
import { DormouseError } from "./errors.js";
import { newKeys } from "./keys.js";
import type { RoomContext } from "./room-context.js";
import type { MachineState } from "./machine.js";
import type { Limits, ServerBodies, ServerMessage } from "./messages.js";
import { checkObjectName } from "./names.js";
import { Requests } from "./requests.js";
import { Room, type AnyRoom, type JoinOptions } from "./room.js";

/** How to reach a server. */
export interface DormouseOptions {
  /** `msgpack` by default. JSON is easier to read in a browser's developer tools. */
  readonly encoding?: Encoding;
  /** Where there is no global WebSocket (Node 20): the class of the package `ws`. */
  readonly WebSocket?: WebSocketClass;
  /** The first wait before a reconnect is anywhere between 0 and this, in milliseconds; 500 by default. */
  readonly minReconnectDelay?: number;
  /** The range of the wait doubles up to this, in milliseconds; 8,000 by default. */
  readonly maxReconnectDelay?: number;
  /** How long to wait for an answer, in milliseconds; 10,000 by default. */
  readonly timeout?: number;
  /** The token of a session to continue. */
  readonly session?: string;
}

/**
 * - `disconnected`: the application did not ask for a connection;
 * - `connecting`: connects, or waits to try it again;
 * - `connected`;
 * - `closed`: the server said that there is no point in coming back.
 */
export type ClientState = "disconnected" | "connecting" | "connected" | "closed";

/** Who this client is to the server. */
export interface Session {
  /** The `sender` of what it publishes. */
  readonly id: string;
  /** The secret that continues the session: keep it to publish as the same sender later. */
  readonly token: string;
}

/** What a client reports. */
export interface ClientEvents {
  /**
   * Also at every further attempt to connect. While it waits for the next one, which is at `retryAt` (milliseconds since
   * the Unix epoch), and when it is `closed`, `error` says why there is no connection.
   */
  state: { readonly state: ClientState; readonly retryAt: number | null; readonly error?: DormouseError };
  welcome: { readonly session: Session; readonly server: string; readonly limits: Limits };
  error: DormouseError;
}

const BAD_TOKEN = 3500;
const STATES = { idle: "disconnected", connecting: "connecting", waiting: "connecting", connected: "connected", stopped: "closed" } as const;

/** A connection to a Dormouse server that comes back by itself, and the rooms that are joined over it. */
export class Dormouse extends Emitter<ClientEvents> {
  readonly #url: URL;
  readonly #connection: Connection;
  readonly #context: RoomContext<AnyRoom>;
  #token: string | null;
  #session: Session | null = null;
  #limits: Limits | null = null;
  #requests: Requests | null = null;
  /** The rooms that the application joined, by name. */
  readonly #rooms = new Map<string, AnyRoom>();
  /** The rooms that it left, until the server knows. */
  readonly #leaving = new Set<AnyRoom>();
  /** By the numbers of this connection. */
  readonly #members = new Map<number, AnyRoom>();

  /** `url` is that of the server: `ws://127.0.0.1:7700`. Connects when `connect` is called. */
  constructor(url: string | URL, options: DormouseOptions = {}) {
    super();
    this.#url = connectUrl(url);
    this.#token = options.session ?? null;
    const WebSocket = options.WebSocket ?? (globalThis.WebSocket as WebSocketClass | undefined);
    if (!WebSocket) throw new TypeError("there is no global WebSocket here: pass that of the package ws as `WebSocket`");
    const { encoding = "msgpack", minReconnectDelay: minMs = 500, maxReconnectDelay: maxMs = 8_000, timeout = 10_000 } = options;
    const backoff = { minMs, maxMs };
    this.#connection = new Connection(
      { encoding, WebSocket, backoff, timeoutMs: timeout },
      {
        url: () => this.#urlWithSession(),
        stateChanged: (state) => this.#stateChanged(state),
        received: (message) => this.#received(message),
        failed: (error) => this.emit("error", error),
      },
    );
    this.#context = {
      backoff,
      timeoutMs: timeout,
      newKey: newKeys(),
      limits: () => this.#limits,
      hasCapacity: () => this.#requests?.hasCapacity() ?? false,
      request: (type, body, waiter) => this.#requests!.request(type, body, waiter),
      send: (message) => this.#connection.send(message),
      joined: (room, object) => this.#members.set(object, room),
      leaving: (room) => this.#roomLeaving(room),
      gone: (room) => this.#roomGone(room),
      broken: (message) => this.#connection.broken(message),
    };
  }

  get state(): ClientState {
    return STATES[this.#connection.state.name];
  }

  /** Null until the first `welcome`. */
  get session(): Session | null {
    return this.#session;
  }

  /** Connects and stays connected until `disconnect`. While it waits for the next attempt: tries it now. */
  connect(): void {
    this.#connection.connect();
  }

  /**
   * Closes the connection. Rooms keep their positions and go on after the next `connect`; what is not acknowledged is
   * given up with the error `disconnected`, and may or may not have been stored.
   */
  disconnect(): void {
    this.#connection.disconnect();
  }

  /** Resolves when connected; rejects where that is given up. Does not connect by itself. */
  ready(): Promise<void> {
    if (this.state === "connected") return Promise.resolve();
    const now = this.#connection.state;
    if (now.name === "stopped") return Promise.reject(closedError(now));
    return new Promise((resolve, reject) => {
      const off = this.on("state", ({ state, error }) => {
        if (state === "connecting") return;
        off();
        if (state === "connected") resolve();
        else reject(error ?? new DormouseError("disconnected", "disconnect() was called"));
      });
    });
  }

  /**
   * Joins an object, now or as soon as there is a connection. `from` says where to start, `"now"` by default, and
   * `presence` who is here: it puts this member into the roster. An object that is joined already is returned as it is.
   * Throws where `name` can't be a name, or `presence` can't be sent.
   */
  join<Data = unknown, Signal = unknown, Presence = unknown>(
    name: string,
    options: JoinOptions<Presence> = {},
  ): Room<Data, Signal, Presence> {
    checkObjectName(name);
    const joined = this.#rooms.get(name);
    if (joined) return joined;
    const room = new Room<Data, Signal, Presence>(name, options, this.#context);
    this.#rooms.set(name, room);
    const isLeaving = [...this.#leaving].some((other) => other.name === name);
    if (this.#requests && !isLeaving) room.connected();
    return room;
  }

  #urlWithSession(): string {
    const url = new URL(this.#url);
    if (this.#token !== null) url.searchParams.set("session", this.#token);
    return url.href;
  }

  #stateChanged(state: MachineState): void {
    const rooms = [...this.#rooms.values(), ...this.#leaving];
    if (this.#requests && state.name !== "connected") {
      this.#requests = null;
      this.#members.clear();
      for (const room of rooms) room.disconnected();
    }
    if (state.name === "stopped" && state.code === BAD_TOKEN) this.#token = null;
    const error = errorOf(state);
    if (state.name === "stopped" || state.name === "idle") {
      const why = error ?? new DormouseError("disconnected", "disconnect() was called");
      for (const room of rooms) room.giveUp(why);
    }
    const retryAt = state.name === "waiting" ? Date.now() + state.until - performance.now() : null;
    this.emit("state", { state: STATES[state.name], retryAt, ...(error && { error }) });
    if (error && state.name === "stopped") this.emit("error", error);
  }

  #received(message: ServerMessage): void {
    if (message.type === "welcome") return this.#welcomed(message.body);
    if (this.#requests?.settle(message)) {
      for (const room of this.#rooms.values()) room.pump();
    } else if ("object" in message.body) {
      this.#members.get(message.body.object)?.received(message);
    } else if (message.type === "error") {
      this.emit("error", new DormouseError(message.body.code, message.body.message));
    }
  }

  #welcomed({ session: id, token, server, limits }: ServerBodies["welcome"]): void {
    this.#token = token;
    this.#session = { id, token };
    this.#limits = limits;
    this.#requests = new Requests(limits.in_flight, (message) => this.#connection.send(message));
    this.emit("welcome", { session: this.#session, server, limits });
    for (const room of this.#rooms.values()) if (this.#requests) room.connected();
  }

  #roomLeaving(room: AnyRoom): void {
    this.#rooms.delete(room.name);
    this.#leaving.add(room);
  }

  #roomGone(room: AnyRoom): void {
    this.#leaving.delete(room);
    if (this.#rooms.get(room.name) === room) this.#rooms.delete(room.name);
    // The application joined it again meanwhile.
    else if (this.#requests) this.#rooms.get(room.name)?.connected();
  }
}

function connectUrl(server: string | URL): URL {
  const url = new URL(server);
  url.protocol = url.protocol.replace(/^http/, "ws");
  if (url.protocol !== "ws:" && url.protocol !== "wss:") throw new TypeError(`${url.protocol} is not ws: or wss:`);
  url.pathname = `${url.pathname.replace(/\/$/, "")}/v1/connect`;
  url.hash = "";
  return url;
}

/** Why there is no connection, where that is known. */
function errorOf(state: MachineState): DormouseError | undefined {
  if (state.name === "stopped") return closedError(state);
  return state.name === "waiting" ? state.error : undefined;
}

function closedError({ code, reason }: Extract<MachineState, { name: "stopped" }>): DormouseError {
  return new DormouseError("closed", `the server closed the connection: ${reason || "no reason"} (${code})`, code);
}
