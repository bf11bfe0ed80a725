import { backoffMs, type BackoffRange } from "./backoff.js";
import { DormouseError } from "./errors.js";

/** Where the life of the socket stands. Times are in milliseconds of one monotonic clock. */
export type MachineState =
  /** The application did not ask for a connection. */
  | { readonly name: "idle" }
  /** A socket was opened and the `welcome` is awaited. */
  | { readonly name: "connecting"; readonly attempt: number; readonly deadline: number }
  | {
      readonly name: "connected";
      readonly attempt: number;
      readonly since: number;
      /** After how long a silence to ask whether the server is still there. */
      readonly silenceMs: number;
      readonly heard: number;
      /** When to give up on the answer to a ping; null where none was sent. */
      readonly probe: number | null;
    }
  /** The next attempt is made at `until`; `error` says why there is no connection. */
  | { readonly name: "waiting"; readonly attempt: number; readonly until: number; readonly error: DormouseError }
  /** The server said that there is no point in coming back. */
  | { readonly name: "stopped"; readonly code: number; readonly reason: string };

/** What happens to it. */
export type MachineInput =
  | { readonly type: "connect" }
  | { readonly type: "disconnect" }
  /** The first message came. */
  | { readonly type: "welcome"; readonly pingIntervalMs: number }
  /** Anything came. */
  | { readonly type: "heard" }
  | { readonly type: "closed"; readonly code: number; readonly reason: string }
  /** The server broke the protocol. */
  | { readonly type: "broken"; readonly error: DormouseError }
  /** The network came back or somebody looks at the page again. */
  | { readonly type: "wake" }
  /** `deadline` of the state has come. */
  | { readonly type: "timer" };

/** What is to be done, in this order. */
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

/** A connection that held for so long was good: the back-off starts anew. */
const STEADY_MS = 5_000;
/** The server pings at its interval; only what is silent for longer is suspect. */
const SILENCE_SLACK_MS = 5_000;

/** A close code of ours: the connection is of no use any more, and this client comes back. */
export const ABANDONED = 4000;

/** What follows from `input` at `now`. `random` is in [0, 1). Pure. */
export function step(state: MachineState, input: MachineInput, now: number, random: number, options: MachineOptions): Step {
  switch (input.type) {
    case "connect":
      return state.name === "idle" || state.name === "stopped" ? open(0, now, options) : step(state, { type: "wake" }, now, random, options);
    case "disconnect":
      return { state: { name: "idle" }, effects: hasSocket(state) ? ["close"] : [] };
    case "welcome": {
      if (state.name !== "connecting") return stay(state);
      const silenceMs = input.pingIntervalMs + SILENCE_SLACK_MS;
      return stay({ name: "connected", attempt: state.attempt, since: now, silenceMs, heard: now, probe: null });
    }
    case "heard":
      return stay(state.name === "connected" ? { ...state, heard: now, probe: null } : state);
    case "closed":
      if (!hasSocket(state)) return stay(state);
      if (isFinal(input.code)) return stay({ name: "stopped", code: input.code, reason: input.reason });
      return wait(state, now, random, options, [], endedError(state, input));
    case "broken":
      return hasSocket(state) ? wait(state, now, random, options, ["abandon"], input.error) : stay(state);
    case "wake":
      if (state.name === "waiting") return open(state.attempt, now, options);
      return state.name === "connected" && state.probe === null ? probe(state, now, options) : stay(state);
    case "timer":
      return timer(state, now, random, options);
  }
}

/** When the state wants the input `timer`; null for never. */
export function deadline(state: MachineState): number | null {
  switch (state.name) {
    case "connecting":
      return state.deadline;
    case "connected":
      return state.probe ?? state.heard + state.silenceMs;
    case "waiting":
      return state.until;
    case "idle":
    case "stopped":
      return null;
  }
}

/** The range of a close code tells whether to come back; PROTOCOL.md, "Close codes". */
export function isFinal(code: number): boolean {
  if (code === 1002 || code === 1003 || code === 1007 || code === 1009) return true;
  return (code >= 3500 && code <= 3999) || (code >= 4500 && code <= 4999);
}

type WithSocket = Extract<MachineState, { name: "connecting" | "connected" }>;

function hasSocket(state: MachineState): state is WithSocket {
  return state.name === "connecting" || state.name === "connected";
}

function stay(state: MachineState): Step {
  return { state, effects: [] };
}

function open(attempt: number, now: number, options: MachineOptions): Step {
  return { state: { name: "connecting", attempt, deadline: now + options.timeoutMs }, effects: ["open"] };
}

function probe(state: Extract<MachineState, { name: "connected" }>, now: number, options: MachineOptions): Step {
  return { state: { ...state, probe: now + options.timeoutMs }, effects: ["ping"] };
}

function wait(
  state: WithSocket,
  now: number,
  random: number,
  options: MachineOptions,
  effects: readonly Effect[],
  error: DormouseError,
): Step {
  const steady = state.name === "connected" && now - state.since >= STEADY_MS;
  const attempt = steady ? 0 : state.attempt;
  const until = now + backoffMs(options.backoff, attempt, random);
  return { state: { name: "waiting", attempt: attempt + 1, until, error }, effects };
}

function endedError({ name }: WithSocket, { code, reason }: { readonly code: number; readonly reason: string }): DormouseError {
  const what = name === "connecting" ? "the server can't be reached" : "the connection was lost";
  return new DormouseError("unreachable", `${what}${reason && `: ${reason}`} (${code})`, code);
}

function timer(state: MachineState, now: number, random: number, options: MachineOptions): Step {
  const due = deadline(state);
  if (due === null || now < due) return stay(state);
  if (state.name === "waiting") return open(state.attempt, now, options);
  if (state.name === "connected" && state.probe === null) return probe(state, now, options);
  return hasSocket(state) ? wait(state, now, random, options, ["abandon"], new DormouseError("timeout", "the server does not answer")) : stay(state);
}
