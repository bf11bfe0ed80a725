import { byteLength, decode, encode, subprotocol, type Encoding } from "./codec.js";
import { DormouseError, Unauthorized } from "./errors.js";
import { explainHandshakeFailure } from "./handshake-failure.js";
import { ABANDONED, deadline, step, type MachineInput, type MachineOptions, type MachineState } from "./machine.js";
import { CLIENT_FIELDS, SERVER_FIELDS, type ClientMessage, type ServerMessage } from "./messages.js";
import { onWake } from "./wake.js";

/** The part of the WebSocket interface that this client uses. Browsers and the package `ws` have it. */
export interface WebSocketLike {
  binaryType: string;
  onopen: unknown;
  onmessage: unknown;
  onclose: unknown;
  onerror: unknown;
  /** Called with text or a Uint8Array. */
  send(data: unknown): void;
  close(code?: number, reason?: string): void;
}
/** The constructor of a WebSocket. */
export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike;

export interface ConnectionOptions extends MachineOptions {
  readonly encoding: Encoding;
  readonly WebSocket: WebSocketClass;
}

/** The part of the client that a connection calls. */
export interface ConnectionOwner {
  /** The URL to connect to; read at every attempt. */
  url(): string;
  /** The token of access, or null; read at every attempt. */
  token(): string | null | Promise<string | null>;
  stateChanged(state: MachineState): void;
  received(message: ServerMessage): void;
  failed(error: DormouseError): void;
}

/** A page can set no header of a WebSocket, so the token is offered as a subprotocol. */
const TOKEN_PROTOCOL = "dormouse.token.";

/** The id of the connection's own pings. Nothing waits for their replies: any message shows that the server is there. */
const PING_ID = 0;

/** Runs the state machine: owns the socket and the timer, and turns bytes into messages. */
export class Connection {
  #state: MachineState = { name: "idle" };
  #socket: WebSocketLike | null = null;
  #timer: { readonly id: ReturnType<typeof setTimeout>; readonly due: number } | null = null;
  #unwatch: (() => void) | null = null;
  /** Infinity until the `welcome`. */
  #maxBytes = Infinity;
  /** A `welcome` arrived at least once, so the URL is right and a failed handshake is temporary. */
  #wasConnected = false;
  /** Why the server is about to close a connection before its `welcome`. */
  #refusal = "";
  /** Identifies the attempt that waits for the promise of a token; null if none does. */
  #waiting: object | null = null;
  /** The search for the reason of a failed handshake. */
  #explanation: AbortController | null = null;

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

  /** The server broke the protocol: reports it and replaces the connection. */
  protocolError(message: string): void {
    const error = new DormouseError("protocol", message);
    this.owner.failed(error);
    this.#input({ type: "protocol_error", error });
  }

  /** Sends on a connected socket; throws `too_large`. */
  send(message: ClientMessage): void {
    const data = encode(this.options.encoding, CLIENT_FIELDS, message);
    // A UTF-16 unit takes at most three bytes in UTF-8: only a text near the limit has to be measured.
    if (data.length * 3 > this.#maxBytes && byteLength(data) > this.#maxBytes) {
      throw new DormouseError("too_large", `the message is larger than the server's limit of ${this.#maxBytes} bytes`);
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

  /** Gets the token, and then opens the socket. While a promise is pending, the state stays `connecting`, up to its deadline. */
  #open(): void {
    this.#endExplanation();
    this.#waiting = null;
    let token: string | null | Promise<string | null>;
    try {
      token = this.owner.token();
    } catch (error) {
      queueMicrotask(() => this.#noToken(error));
      return;
    }
    if (!(token instanceof Promise)) return this.#openSocket(token);
    const waiting = (this.#waiting = {});
    token.then(
      (token) => this.#waiting === waiting && this.#openSocket(token),
      (error: unknown) => this.#waiting === waiting && this.#noToken(error),
    );
  }

  #noToken(error: unknown): void {
    this.#waiting = null;
    if (error instanceof Unauthorized) this.#input({ type: "rejected", error });
    else this.#input({ type: "closed", code: 1006, reason: `getToken has thrown: ${String(error)}` });
  }

  #openSocket(token: string | null): void {
    this.#waiting = null;
    let socket: WebSocketLike;
    try {
      const protocols = [subprotocol(this.options.encoding), ...(token === null ? [] : [TOKEN_PROTOCOL + token])];
      socket = new this.options.WebSocket(this.owner.url(), protocols);
    } catch (error) {
      // Not in this call, because the machine is still in the step that asked for the socket.
      queueMicrotask(() => this.#input({ type: "closed", code: 1006, reason: String(error) }));
      return;
    }
    socket.binaryType = "arraybuffer";
    let isOpen = false;
    socket.onopen = () => (isOpen = true);
    socket.onmessage = ({ data }: { data: unknown }) => this.#received(data);
    let problem = "";
    this.#refusal = "";
    const ended = (code: number, reason: string): void => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      const why = this.#refusal && reason ? `${reason}: ${this.#refusal}` : reason || problem;
      if (isOpen || this.#wasConnected) this.#input({ type: "closed", code, reason: why });
      else void this.#handshakeFailed(code, problem);
    };
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => ended(code, reason);
    // Only Node and the package `ws` say here what went wrong. Without a listener `ws` would throw.
    socket.onerror = ({ message }: { message?: unknown }) => {
      if (typeof message === "string") problem = message;
      // A close event should follow. Node 20 fires none after a failed handshake, nor does Chromium if a policy forbids it.
      if (!isOpen) ended(1006, "");
    };
    this.#maxBytes = Infinity;
    this.#socket = socket;
  }

  /** Stays `connecting`, up to its deadline, until the reason is known. */
  async #handshakeFailed(code: number, problem: string): Promise<void> {
    const explanation = (this.#explanation = new AbortController());
    const { message, isPermanent } = await explainHandshakeFailure(this.owner.url(), problem, explanation.signal);
    if (this.#explanation !== explanation) return;
    this.#explanation = null;
    if (isPermanent) this.#input({ type: "rejected", error: new DormouseError("closed", message) });
    else this.#input({ type: "closed", code, reason: message });
  }

  #endExplanation(): void {
    this.#explanation?.abort();
    this.#explanation = null;
  }

  /** Does not wait for the close event: without a network it may take minutes. */
  #drop(code: number): void {
    this.#endExplanation();
    this.#waiting = null;
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
      this.protocolError(`cannot read a message of the server: ${error instanceof Error ? error.message : String(error)}`);
      return;
    }
    this.#input({ type: "received" });
    if (!message) return;
    if (message.type === "welcome") {
      this.#maxBytes = message.body.limits.message_bytes;
      this.#wasConnected = true;
      // The owner must know its session before the state changes.
      this.owner.received(message);
      this.#input({ type: "welcome", pingIntervalMs: message.body.ping_interval_ms });
    } else if (this.#state.name === "connected") {
      this.owner.received(message);
    } else if (message.type === "error") {
      this.#refusal = message.body.message;
    }
  }

  /** A later deadline keeps the timer, which is armed again when it fires: a message then costs no timer. */
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
