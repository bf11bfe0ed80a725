import { byteLength, decode, encode, subprotocol, type Encoding } from "./codec.js";
import { DormouseError } from "./errors.js";
import { ABANDONED, deadline, step, type MachineInput, type MachineOptions, type MachineState } from "./machine.js";
import { CLIENT_FIELDS, SERVER_FIELDS, type ClientMessage, type ServerMessage } from "./messages.js";
import { onWake } from "./wake.js";

/** What this client needs of a WebSocket; the browser's and that of the package `ws` have it. */
export interface WebSocketLike {
  binaryType: string;
  onopen: unknown;
  onmessage: unknown;
  onclose: unknown;
  onerror: unknown;
  send(data: string | ArrayBufferView<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}
/** Opens a WebSocket. */
export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike;

export interface ConnectionOptions extends MachineOptions {
  readonly encoding: Encoding;
  readonly WebSocket: WebSocketClass;
}

/** Who uses a connection. */
export interface ConnectionOwner {
  /** Where to connect to; asked at every attempt. */
  url(): string;
  stateChanged(state: MachineState): void;
  received(message: ServerMessage): void;
  failed(error: DormouseError): void;
}

/** The id of this file's own pings. Their answers need nobody: whatever comes shows that the server is there. */
const PING_ID = 0;

/** Runs the state machine: owns the socket and the timer, and turns bytes into messages. */
export class Connection {
  #state: MachineState = { name: "idle" };
  #socket: WebSocketLike | null = null;
  #timer: { readonly id: ReturnType<typeof setTimeout>; readonly due: number } | null = null;
  #unwatch: (() => void) | null = null;
  /** Unknown until the `welcome`. */
  #maxBytes = Infinity;

  constructor(
    private readonly options: ConnectionOptions,
    private readonly owner: ConnectionOwner,
  ) {}

  get state(): MachineState {
    return this.#state;
  }

  connect(): void {
    this.#unwatch ??= onWake(() => this.#input({ type: "wake" }));
    this.#input({ type: "connect" });
  }

  disconnect(): void {
    this.#input({ type: "disconnect" });
  }

  /** The server broke the protocol: reports it and comes back on another connection. */
  broken(message: string): void {
    const error = new DormouseError("protocol", message);
    this.owner.failed(error);
    this.#input({ type: "broken", error });
  }

  /** Sends on a connected socket; throws `too_large`. */
  send(message: ClientMessage): void {
    const data = encode(this.options.encoding, CLIENT_FIELDS, message);
    // No text is longer than three bytes for each of its units: measure only what comes near the limit.
    if (data.length * 3 > this.#maxBytes && byteLength(data) > this.#maxBytes) {
      throw new DormouseError("too_large", `a message may have ${this.#maxBytes} bytes`);
    }
    this.#socket?.send(data);
  }

  #input(input: MachineInput): void {
    const before = this.#state;
    const { state, effects } = step(before, input, performance.now(), Math.random(), this.options);
    this.#state = state;
    for (const effect of effects) {
      if (effect === "open") this.#open();
      else if (effect === "ping") this.send({ type: "ping", body: { id: PING_ID } });
      else this.#drop(effect === "close" ? 1000 : ABANDONED);
    }
    this.#arm();
    if (state.name === before.name) return;
    if (state.name === "idle" || state.name === "stopped") {
      this.#unwatch?.();
      this.#unwatch = null;
    }
    this.owner.stateChanged(state);
  }

  #open(): void {
    let socket: WebSocketLike;
    try {
      socket = new this.options.WebSocket(this.owner.url(), [subprotocol(this.options.encoding)]);
    } catch (error) {
      // Not the place to step the machine again: it is still at the step that asked for the socket.
      queueMicrotask(() => this.#input({ type: "closed", code: 1006, reason: String(error) }));
      return;
    }
    socket.binaryType = "arraybuffer";
    let problem = "";
    socket.onmessage = ({ data }: { data: unknown }) => this.#received(data);
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
      this.#socket = null;
      this.#input({ type: "closed", code, reason: reason || problem });
    };
    // A close follows. Only Node says here what went wrong. Without a listener the package `ws` would throw.
    socket.onerror = ({ message }: { message?: unknown }) => {
      if (typeof message === "string") problem = message;
    };
    this.#maxBytes = Infinity;
    this.#socket = socket;
  }

  /** A socket without a network may take minutes to say that it is closed, so nobody waits for that. */
  #drop(code: number): void {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onmessage = null;
    socket.onclose = null;
    socket.close(code);
  }

  #received(data: unknown): void {
    let message: ServerMessage | null;
    try {
      message = decode(this.options.encoding, SERVER_FIELDS, data);
    } catch (error) {
      this.broken(`a message that can't be read: ${error instanceof Error ? error.message : String(error)}`);
      return;
    }
    this.#input({ type: "heard" });
    if (!message) return;
    if (message.type === "welcome") {
      this.#maxBytes = message.body.limits.message_bytes;
      // The owner first learns of its session, then of the state.
      this.owner.received(message);
      this.#input({ type: "welcome", pingIntervalMs: message.body.ping_interval_ms });
    } else if (this.#state.name === "connected") {
      this.owner.received(message);
    }
  }

  /** A timer that fires too early is armed again, so that a message does not cost a timer. */
  #arm(): void {
    const due = deadline(this.#state);
    if (this.#timer && due !== null && this.#timer.due <= due) return;
    if (this.#timer) clearTimeout(this.#timer.id);
    this.#timer = due === null ? null : { due, id: setTimeout(() => this.#fired(), Math.max(0, due - performance.now())) };
  }

  #fired(): void {
    this.#timer = null;
    this.#input({ type: "timer" });
  }
}
