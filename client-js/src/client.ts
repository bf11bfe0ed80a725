import type { Encoding } from "./codec.js";
import { Connection, type WebSocketClass } from "./connection.js";
import { Emitter } from "./emitter.js";
import { DormouseError } from "./errors.js";
import { checkJoinOptions, type JoinOptions } from "./join-options.js";
import { newKeys } from "./keys.js";
import type { MachineState } from "./machine.js";
import type { Limits, ServerBodies, ServerMessage } from "./messages.js";
import { checkObjectName } from "./names.js";
import { checkChoice, checkOptions } from "./options.js";
import { refusal, Requests } from "./requests.js";
import { Room, type AnyRoom } from "./room.js";
import type { RoomContext } from "./room-context.js";
import { connectUrl } from "./url.js";

/** How to connect to a server. */
export interface DormouseOptions {
  /** `msgpack` by default. JSON is easier to read in a browser's developer tools. */
  readonly encoding?: Encoding;
  /** The class `WebSocket` of the package `ws`, for Node 20, which has no global WebSocket. */
  readonly WebSocket?: WebSocketClass;
  /** The first pause before a reconnect is random between 0 and this, in milliseconds; 500 by default. */
  readonly minReconnectDelay?: number;
  /** The range of the pause doubles with each attempt, up to this, in milliseconds; 8,000 by default. */
  readonly maxReconnectDelay?: number;
  /** How long to wait for an answer, in milliseconds; 10,000 by default. */
  readonly timeout?: number;
  /** The token of a session to continue. */
  readonly session?: string;
  /** The access token, which names the user and has its grants; for a server with keys. */
  readonly token?: string;
  /**
   * Gets a token, instead of `token`. It is called at each attempt to connect, and before the token expires: the connection then goes on
   * with the new one. It may return a promise. If it throws `Unauthorized`, the client stops.
   */
  readonly getToken?: () => string | Promise<string>;
}

const OPTIONS = ["encoding", "WebSocket", "minReconnectDelay", "maxReconnectDelay", "timeout", "session", "token", "getToken"];

/**
 * - `disconnected`: the application did not ask for a connection;
 * - `connecting`: the client connects, or waits for its next attempt;
 * - `connected`: messages can be exchanged;
 * - `closed`: the client gave up, because another attempt would fail in the same way.
 */
export type ClientState = "disconnected" | "connecting" | "connected" | "closed";

/** The identity of this client on the server. */
export interface Session {
  /** The `sender` of the events and signals of this client. */
  readonly id: string;
  /** The secret that continues the session. Keep it to publish as the same sender later. */
  readonly token: string;
}

/** The events of a client. */
export interface ClientEvents {
  /**
   * The state changed, or the client makes another attempt to connect. `retryAt` is the time of the next attempt in
   * milliseconds since the Unix epoch, or null. `error` says why there is no connection, where that is known.
   */
  state: { readonly state: ClientState; readonly retryAt: number | null; readonly error?: DormouseError };
  welcome: { readonly session: Session; readonly server: string; readonly limits: Limits };
  error: DormouseError;
}

const BAD_TOKEN = 3500;
const STATES = { idle: "disconnected", connecting: "connecting", waiting: "connecting", connected: "connected", stopped: "closed" } as const;

/** A connection to a Dormouse server that reconnects by itself, and the rooms that use it. */
export class Dormouse extends Emitter<ClientEvents> {
  readonly #url: URL;
  readonly #connection: Connection;
  readonly #context: RoomContext<AnyRoom>;
  #token: string | null;
  readonly #getToken: (() => string | Promise<string>) | null;
  #session: Session | null = null;
  #limits: Limits | null = null;
  #requests: Requests | null = null;
  /** The rooms that the application joined, by name. */
  readonly #rooms = new Map<string, AnyRoom>();
  /** The rooms that the application left, until the server knows it. */
  readonly #leaving = new Set<AnyRoom>();
  /** The joined rooms by their object numbers on this connection. */
  readonly #members = new Map<number, AnyRoom>();

  /**
   * `url` is the URL of the server, such as `ws://127.0.0.1:7700`; a path `/v1/connect` at its end is accepted.
   * The client connects when `connect` is called. Throws `bad_request` for an invalid URL or option.
   */
  constructor(url: string | URL, options: DormouseOptions = {}) {
    super();
    checkOptions("new Dormouse", options, OPTIONS);
    checkChoice("encoding", options.encoding, ["msgpack", "json"]);
    this.#url = connectUrl(url);
    this.#token = options.session ?? null;
    this.#getToken = options.getToken ?? null;
    if (options.token !== undefined && options.getToken) {
      throw new DormouseError("bad_request", "new Dormouse has the options token and getToken: leave one out");
    }
    if (typeof options.token === "function") {
      throw new DormouseError("bad_request", "the option token is a text: pass a function as getToken");
    }
    const WebSocket = options.WebSocket ?? (globalThis.WebSocket as WebSocketClass | undefined);
    if (!WebSocket) {
      throw new DormouseError("bad_request", "there is no global WebSocket: pass the class of the package ws as the option WebSocket");
    }
    const { token, encoding = "msgpack", minReconnectDelay: minMs = 500, maxReconnectDelay: maxMs = 8_000, timeout = 10_000 } = options;
    const backoff = { minMs, maxMs };
    this.#connection = new Connection(
      { encoding, WebSocket, backoff, timeoutMs: timeout },
      {
        url: () => this.#urlWithSession(),
        token: () => this.#getToken?.() ?? token ?? null,
        stateChanged: (state) => this.#stateChanged(state),
        received: (message) => this.#received(message),
        failed: (error) => this.emit("error", error),
      },
    );
    this.#context = {
      backoff,
      timeoutMs: timeout,
      newKey: newKeys(),
      sender: () => this.#session?.id ?? null,
      limits: () => this.#limits,
      hasCapacity: () => this.#requests?.hasCapacity() ?? false,
      request: (type, body, handler) => this.#requests!.request(type, body, handler),
      send: (message) => this.#connection.send(message),
      joined: (room, object) => this.#members.set(object, room),
      leaving: (room) => this.#roomLeaving(room),
      closed: (room) => this.#roomClosed(room),
      protocolError: (message) => this.#connection.protocolError(message),
    };
  }

  get state(): ClientState {
    return STATES[this.#connection.state.name];
  }

  /** Null until the first `welcome`. */
  get session(): Session | null {
    return this.#session;
  }

  /** Connects and stays connected until `disconnect`. If the client waits for its next attempt, it makes the attempt now. */
  connect(): void {
    this.#connection.connect();
  }

  /**
   * Closes the connection. Rooms keep their positions and continue after the next `connect`. A publish without an
   * acknowledgement rejects with `disconnected`; it may or may not have been stored.
   */
  disconnect(): void {
    this.#connection.disconnect();
  }

  /** Resolves when the client is connected; rejects when the client gives up. Does not connect by itself. */
  ready(): Promise<void> {
    if (this.state === "connected") return Promise.resolve();
    const now = this.#connection.state;
    if (now.name === "stopped") return Promise.reject(now.error);
    return new Promise((resolve, reject) => {
      const off = this.on("state", ({ state, error }) => {
        if (state === "connecting") return;
        off();
        if (state === "connected") resolve();
        else reject(error ?? disconnected());
      });
    });
  }

  /**
   * Joins an object, now or as soon as there is a connection. `from` says where to start (`"now"` by default), and
   * `presence` puts this member into the roster.
   *
   * A second `join` of the same object returns the same room, and the room then stays joined until `leave` was called
   * as often. Its `presence` replaces the one before, and the room receives what the most demanding `watch` asks for.
   * Throws `bad_request` for an invalid name or option, and for a `from` that differs from that of the first `join`.
   */
  join<Data = unknown, Signal = unknown, Presence = unknown>(
    name: string,
    options: JoinOptions<Presence> = {},
  ): Room<Data, Signal, Presence> {
    checkObjectName(name);
    checkJoinOptions(options);
    const joined = this.#rooms.get(name);
    if (joined && joined.state !== "failed") {
      joined.joinAgain(options);
      return joined;
    }
    const room = new Room<Data, Signal, Presence>(name, options, this.#context);
    this.#rooms.set(name, room);
    this.#start(room);
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
    if (state.name === "stopped" && state.error.closeCode === BAD_TOKEN) this.#token = null;
    const error = state.name === "stopped" || state.name === "waiting" ? state.error : undefined;
    if (state.name === "stopped" || state.name === "idle") {
      for (const room of rooms) room.giveUp(error ?? disconnected());
    }
    const retryAt = state.name === "waiting" ? Date.now() + state.until - performance.now() : null;
    this.emit("state", { state: STATES[state.name], retryAt, ...(error && { error }) });
    if (error && state.name === "stopped") this.emit("error", error);
  }

  #received(message: ServerMessage): void {
    if (message.type === "welcome") return this.#welcomed(message.body);
    if (message.type === "token_expiring") return void this.#refreshToken();
    if (this.#requests?.settle(message)) {
      for (const room of this.#rooms.values()) room.pump();
    } else if ("object" in message.body) {
      this.#members.get(message.body.object)?.received(message);
    } else if (message.type === "error") {
      this.emit("error", refusal(message.body));
    }
  }

  /**
   * Sends a new token before the one of this connection expires. If `getToken` throws, the server closes the connection at the expiry, and
   * the next attempt to connect calls it again.
   */
  async #refreshToken(): Promise<void> {
    const requests = this.#requests;
    if (!this.#getToken || !requests) return;
    try {
      const token = await this.#getToken();
      if (this.#requests !== requests) return;
      const failed = (error: DormouseError): void => this.emit("error", error);
      requests.request("auth", { token }, { ok: () => {}, refused: failed });
    } catch (error) {
      this.emit("error", error instanceof DormouseError ? error : new DormouseError("unauthorized", `getToken has thrown: ${String(error)}`));
    }
  }

  #welcomed({ session: id, token, server, limits }: ServerBodies["welcome"]): void {
    this.#token = token;
    this.#session = { id, token };
    this.#limits = limits;
    this.#requests = new Requests(limits.in_flight, (message) => this.#connection.send(message));
    this.emit("welcome", { session: this.#session, server, limits });
    for (const room of this.#leaving) if (this.#requests) room.connected();
    for (const room of this.#rooms.values()) this.#start(room);
  }

  #roomLeaving(room: AnyRoom): void {
    this.#rooms.delete(room.name);
    this.#leaving.add(room);
  }

  #roomClosed(room: AnyRoom): void {
    this.#leaving.delete(room);
    const current = this.#rooms.get(room.name);
    if (current === room) this.#rooms.delete(room.name);
    // The application joined the object again in the meantime.
    else if (current) this.#start(current);
  }

  /** Joins the room, unless the server must first learn that an earlier room of the same name was left. */
  #start(room: AnyRoom): void {
    const isBlocked = [...this.#leaving].some(({ name }) => name === room.name);
    if (this.#requests && !isBlocked) room.connected();
  }
}

function disconnected(): DormouseError {
  return new DormouseError("disconnected", "disconnect() was called");
}
