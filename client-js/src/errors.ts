/** The codes of the server's `error` replies. */
export type ServerErrorCode =
  | "bad_request"
  | "unknown_class"
  | "not_joined"
  | "already_joined"
  | "too_many_joins"
  | "too_many_in_flight"
  | "presence_too_large"
  | "roster_full"
  | "overloaded"
  | "disk_full"
  | "unavailable"
  | "internal";

/**
 * What went wrong, for programs. Beside the server's codes:
 *
 * - `outbox_full`: too many publishes of the room wait for their acknowledgement;
 * - `too_large`: the message is over the server's `limits.message_bytes`;
 * - `timeout`: no answer in time;
 * - `disconnected`: `disconnect()` was called; a publish may or may not have been stored;
 * - `closed`: the server ended the connection for good; a publish may or may not have been stored;
 * - `unreachable`: there is no connection at the moment, and the client tries again; only the event `state` has it;
 * - `left`: the room was left; a publish that was under way may or may not have been stored;
 * - `protocol`: the server sent what it must not send.
 */
export type ErrorCode =
  | ServerErrorCode
  | "outbox_full"
  | "too_large"
  | "timeout"
  | "disconnected"
  | "closed"
  | "unreachable"
  | "left"
  | "protocol";

/** Everything that this client throws, rejects with or reports. */
export class DormouseError extends Error {
  override readonly name = "DormouseError";

  constructor(
    /** What went wrong, for programs. A newer server may have codes that are not listed. */
    readonly code: ErrorCode,
    message: string,
    /** The close code, where a connection ended. */
    readonly closeCode?: number,
  ) {
    super(message);
  }
}

const RETRYABLE: ReadonlySet<string> = new Set(["too_many_in_flight", "roster_full", "overloaded", "disk_full", "unavailable", "internal"]);

/** Whether the same request may succeed later. */
export function isRetryable(code: ErrorCode): boolean {
  return RETRYABLE.has(code);
}
