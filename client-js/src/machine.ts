import { backoffMs, type BackoffRange } from "./backoff.js";
import { DormouseError } from "./errors.js";

/** How often the client has failed so far. */
interface Failures {
  /** Attempts to connect since the last connection that was stable. */
  readonly attempt: number;
  /** Connections since then that ended because the server broke the protocol. */
  readonly protocolErrors: number;
}

/** The state of the connection. Times are in milliseconds of one monotonic clock. */
export type MachineState =
  /** The application did not ask for a connection. */
  | { readonly name: "idle" }
  /** A socket was opened; the `welcome` has not arrived. */
  | ({ readonly name: "connecting"; readonly deadline: number } & Failures)
  | ({
      readonly name: "connected";
      readonly since: number;
      /** After so long without a message, the client asks whether the server is still there. */
      readonly silenceMs: number;
      readonly lastReceived: number;
      /** When to give up on the answer to a ping; null while no ping is unanswered. */
      readonly pingDeadline: number | null;
    } & Failures)
  /** The next attempt is at `until`; `error` says why there is no connection. */
  | ({ readonly name: "waiting"; readonly until: number; readonly error: DormouseError } & Failures)
  /** Another attempt would be useless; `error` says why. */
  | { readonly name: "stopped"; readonly error: DormouseError };

/** What happens to the connection. */
export type MachineInput =
  | { readonly type: "connect" }
  | { readonly type: "disconnect" }
  /** The first message arrived. */
  | { readonly type: "welcome"; readonly pingIntervalMs: number }
  /** Any message arrived. */
  | { readonly type: "received" }
  | { readonly type: "closed"; readonly code: number; readonly reason: string }
  /** The handshake failed with an answer that will not change. */
  | { readonly type: "rejected"; readonly error: DormouseError }
  /** The server broke the protocol. */
  | { readonly type: "protocol_error"; readonly error: DormouseError }
  /** The network came back, or the page became visible. */
  | { readonly type: "wake" }
  /** The deadline of the state has passed. */
  | { readonly type: "timer" };

/** What the owner of the machine must do, in this order. */
export type Effect = "open" | "close" | "abandon" | "ping";

export interface MachineOptions {
  readonly backoff: BackoffRange;
  /** How long to wait for the `welcome` and for the answer to a ping, in milliseconds. */
  readonly timeoutMs: number;
}

export interface Step {
  readonly state: MachineState;
  readonly effects: readonly Effect[];
}

/** A connection that lasted so long was stable: the failures are counted anew. */
const STABLE_MS = 5_000;
/** The server pings at its interval. A silence that is longer by this much is suspicious. */
const SILENCE_SLACK_MS = 5_000;
/** The client stops after so many protocol errors without a stable connection between them. */
const MAX_PROTOCOL_ERRORS = 3;

/** The close code of a connection without a valid token. */
const UNAUTHORIZED = 3501;

/** The client's own close code: this connection is useless, and the client will reconnect. */
export const ABANDONED = 4000;

/** Computes the state that follows from `input` at time `now`. `random` is in [0, 1). Pure. */
export function step(state: MachineState, input: MachineInput, now: number, random: number, options: MachineOptions): Step {
  switch (input.type) {
    case "connect":
      if (state.name === "idle" || state.name === "stopped") return open({ attempt: 0, protocolErrors: 0 }, now, options);
      return step(state, { type: "wake" }, now, random, options);
    case "disconnect":
      return { state: { name: "idle" }, effects: hasSocket(state) ? ["close"] : [] };
    case "welcome": {
      if (state.name !== "connecting") return stay(state);
      const silenceMs = input.pingIntervalMs + SILENCE_SLACK_MS;
      return stay({ name: "connected", ...failuresOf(state), since: now, silenceMs, lastReceived: now, pingDeadline: null });
    }
    case "received":
      return stay(state.name === "connected" ? { ...state, lastReceived: now, pingDeadline: null } : state);
    case "closed":
      if (!hasSocket(state)) return stay(state);
      if (isFinal(input.code)) return stay({ name: "stopped", error: closedError(input) });
      return wait(state, now, random, options, [], lostError(state, input));
    case "rejected":
      return state.name === "connecting" ? stay({ name: "stopped", error: input.error }) : stay(state);
    case "protocol_error":
      return hasSocket(state) ? protocolError(state, input.error, now, random, options) : stay(state);
    case "wake":
      if (state.name === "waiting") return open(state, now, options);
      return state.name === "connected" && state.pingDeadline === null ? ping(state, now, options) : stay(state);
    case "timer":
      return timer(state, now, random, options);
  }
}

/** When the state needs the input `timer`; null for never. */
export function deadline(state: MachineState): number | null {
  switch (state.name) {
    case "connecting":
      return state.deadline;
    case "connected":
      return state.pingDeadline ?? state.lastReceived + state.silenceMs;
    case "waiting":
      return state.until;
    case "idle":
    case "stopped":
      return null;
  }
}

/** Whether the range of a close code forbids a reconnect; PROTOCOL.md, "Close codes". */
export function isFinal(code: number): boolean {
  if (code === 1002 || code === 1003 || code === 1007 || code === 1009) return true;
  return (code >= 3500 && code <= 3999) || (code >= 4500 && code <= 4999);
}

type WithSocket = Extract<MachineState, { name: "connecting" | "connected" }>;

function hasSocket(state: MachineState): state is WithSocket {
  return state.name === "connecting" || state.name === "connected";
}

function failuresOf({ attempt, protocolErrors }: Failures): Failures {
  return { attempt, protocolErrors };
}

function stay(state: MachineState): Step {
  return { state, effects: [] };
}

function open(failures: Failures, now: number, options: MachineOptions): Step {
  return { state: { name: "connecting", ...failuresOf(failures), deadline: now + options.timeoutMs }, effects: ["open"] };
}

function ping(state: Extract<MachineState, { name: "connected" }>, now: number, options: MachineOptions): Step {
  return { state: { ...state, pingDeadline: now + options.timeoutMs }, effects: ["ping"] };
}

function wait(
  state: WithSocket,
  now: number,
  random: number,
  options: MachineOptions,
  effects: readonly Effect[],
  error: DormouseError,
  isProtocolError = false,
): Step {
  const isStable = state.name === "connected" && now - state.since >= STABLE_MS;
  const before = isStable ? { attempt: 0, protocolErrors: 0 } : failuresOf(state);
  const failures = { attempt: before.attempt + 1, protocolErrors: before.protocolErrors + (isProtocolError ? 1 : 0) };
  const until = now + backoffMs(options.backoff, before.attempt, random);
  return { state: { name: "waiting", ...failures, until, error }, effects };
}

/** One protocol error may come from a broken connection. Errors that repeat would make the client reconnect for ever. */
function protocolError(state: WithSocket, error: DormouseError, now: number, random: number, options: MachineOptions): Step {
  const next = wait(state, now, random, options, ["abandon"], error, true);
  if (next.state.name !== "waiting" || next.state.protocolErrors < MAX_PROTOCOL_ERRORS) return next;
  const message = `the server broke the protocol on ${MAX_PROTOCOL_ERRORS} connections, on the last one with: ${error.message}`;
  return { state: { name: "stopped", error: new DormouseError("protocol", message) }, effects: ["abandon"] };
}

function closedError({ code, reason }: { readonly code: number; readonly reason: string }): DormouseError {
  const kind = code === UNAUTHORIZED ? "unauthorized" : "closed";
  return new DormouseError(kind, `the server closed the connection: ${reason || "no reason"} (${code})`, code);
}

function lostError({ name }: WithSocket, { code, reason }: { readonly code: number; readonly reason: string }): DormouseError {
  const what = name === "connecting" ? "cannot connect to the server" : "the connection was lost";
  return new DormouseError("unreachable", `${what}${reason && `: ${reason}`} (${code})`, code);
}

function timer(state: MachineState, now: number, random: number, options: MachineOptions): Step {
  const due = deadline(state);
  if (due === null || now < due) return stay(state);
  if (state.name === "waiting") return open(state, now, options);
  if (state.name === "connected" && state.pingDeadline === null) return ping(state, now, options);
  if (!hasSocket(state)) return stay(state);
  return wait(state, now, random, options, ["abandon"], new DormouseError("timeout", "the server does not answer"));
}
