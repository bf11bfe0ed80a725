import { backoffMs, type BackoffRange } from "./backoff.js";

/** The codes of the server's `error` replies. */
export type ServerErrorCode =
  | "bad_request"
  | "unknown_class"
  | "forbidden"
  | "not_joined"
  | "already_joined"
  | "too_many_joins"
  | "too_many_in_flight"
  | "presence_too_large"
  | "roster_full"
  | "key_expired"
  | "rate_limited"
  | "overloaded"
  | "disk_full"
  | "unavailable"
  | "internal";

/**
 * The kinds of errors, for programs. In addition to the server's codes:
 *
 * - `outbox_full`: too many publishes of the room wait for their acknowledgement;
 * - `too_large`: the message is larger than the server's `limits.message_bytes`;
 * - `timeout`: no answer arrived in time;
 * - `disconnected`: `disconnect()` was called; a publish may or may not have been stored;
 * - `unauthorized`: the server requires a valid token, or `getToken` has thrown `Unauthorized`; the client does not try again;
 * - `closed`: the client gave up connecting, because the server does not want a reconnect or rejects this URL; a publish
 *   may or may not have been stored;
 * - `unreachable`: there is no connection at the moment and the client tries again; only the event `state` has this code;
 * - `left`: the room was left; a publish that was under way may or may not have been stored;
 * - `protocol`: the server sent something that the protocol does not allow.
 *
 * `bad_request` is also thrown by the client itself for invalid arguments.
 */
export type ErrorCode =
  | ServerErrorCode
  | "outbox_full"
  | "too_large"
  | "timeout"
  | "disconnected"
  | "unauthorized"
  | "closed"
  | "unreachable"
  | "left"
  | "protocol";

/** An error that this client throws, rejects with or reports. */
export class DormouseError extends Error {
  override readonly name = "DormouseError";

  constructor(
    /** The kind of the error, for programs. A newer server may send codes that are not listed here. */
    readonly code: ErrorCode,
    message: string,
    /** The close code, if the server closed the connection. */
    readonly closeCode?: number,
    /** Of `rate_limited`: the time in milliseconds after which the request can be sent again. */
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }
}

/** Thrown by `getToken` if the user has no token any more. The client then stops. */
export class Unauthorized extends DormouseError {
  constructor(message = "there is no token: the user has to sign in again") {
    super("unauthorized", message);
  }
}

const RETRYABLE: ReadonlySet<string> = new Set(["too_many_in_flight", "roster_full", "rate_limited", "overloaded", "disk_full", "unavailable", "internal"]);

/** Whether the same request may succeed later. */
export function isRetryable(code: ErrorCode): boolean {
  return RETRYABLE.has(code);
}

/**
 * The pause before a refused request is sent again, in milliseconds: the time that the server has sent, plus up to 1/10 of it at random;
 * or, if it has sent none, a pause of the back-off.
 */
export function retryDelayMs(error: DormouseError | undefined, range: BackoffRange, attempt: number): number {
  const retryAfterMs = error?.retryAfterMs;
  return retryAfterMs === undefined ? backoffMs(range, attempt, Math.random()) : Math.ceil(retryAfterMs * (1 + Math.random() / 10));
}

/** Whether a publish that was refused with this code may have been stored; PROTOCOL.md, "Errors". */
export function mayBeStored(code: ErrorCode): boolean {
  return code === "unavailable" || code === "internal";
}
