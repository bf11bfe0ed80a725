import type { BackoffRange } from "./backoff.js";
import { DormouseError, retryDelayMs } from "./errors.js";
import type { RoomEvent, RosterMember } from "./messages.js";
import type { Replies, ReplyHandler, RequestBody } from "./requests.js";

/** Which part of the log to read. The bounds are exclusive. */
export interface HistoryOptions {
  /** Only events after this offset. */
  readonly after?: number;
  /** Only events before this offset. */
  readonly before?: number;
  /** The largest number of entries in the page; the server may return fewer. */
  readonly limit?: number;
  /** Newest first. */
  readonly reverse?: boolean;
}

/** A page of the log. */
export interface HistoryPage<Data = unknown> {
  /** The epoch of the log that was read. */
  readonly epoch: number;
  readonly events: RoomEvent<Data>[];
  /** The range has further events: continue after the last event of this page. */
  readonly more: boolean;
}

/** Which part of a roster to read. */
export interface RosterOptions {
  /** Only members after this number, which is that of the last member of the previous page. */
  readonly after?: number;
  /** The largest number of entries in the page; the server may return fewer. */
  readonly limit?: number;
}

/** A page of a roster. */
export interface RosterPage<Presence = unknown> {
  /** The version of the roster that was read. */
  readonly version: number;
  /** The number of members in the whole roster. */
  readonly count: number;
  /** The number of users in the whole roster. */
  readonly users: number;
  /** Sorted by member number. */
  readonly members: RosterMember<Presence>[];
  /** The roster has members after the last one of this page. */
  readonly more: boolean;
}

/** Requests that change nothing. */
export type ReadType = "history" | "presence.get";
type ReadBody<Type extends ReadType> = Omit<RequestBody<Type>, "object">;
type Send = <Type extends ReadType>(type: Type, body: ReadBody<Type>, handler: ReplyHandler<Replies[Type]>) => void;

interface Read {
  readonly start: (send: Send) => void;
  readonly reject: (error: DormouseError) => void;
}

/** The reads that wait for their answer. They are sent again on the next connection. */
export class Reads {
  readonly #open = new Set<Read>();
  #send: Send | null = null;

  constructor(
    private readonly timeoutMs: number,
    private readonly backoff: BackoffRange,
  ) {}

  /** Resolves with the reply; rejects with `timeout` if there was no connection or no answer in time. */
  read<Type extends ReadType>(type: Type, body: ReadBody<Type>): Promise<Replies[Type]> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#open.delete(read);
        reject(new DormouseError("timeout", `${type}: no answer within ${this.timeoutMs} ms`));
      }, this.timeoutMs);
      const end = (): boolean => {
        clearTimeout(timer);
        return this.#open.delete(read);
      };
      const handler: ReplyHandler<Replies[Type]> = {
        ok: (reply) => end() && resolve(reply),
        refused: (error) => {
          if (error.code === "rate_limited") setTimeout(() => this.#open.has(read) && this.#start(read), retryDelayMs(error, this.backoff, 0));
          else fail(error);
        },
      };
      const fail = (error: DormouseError): unknown => end() && reject(error);
      const read: Read = { start: (send) => send(type, body, handler), reject: fail };
      this.#open.add(read);
      this.#start(read);
    });
  }

  /** The room is joined: requests go out through `send`. */
  joined(send: Send): void {
    this.#send = send;
    for (const read of this.#open) this.#start(read);
  }

  /** The membership has ended. */
  disconnected(): void {
    this.#send = null;
  }

  /** There will be no answers. */
  abandon(error: DormouseError): void {
    for (const read of this.#open) read.reject(error);
  }

  #start(read: Read): void {
    try {
      if (this.#send) read.start(this.#send);
    } catch (error) {
      read.reject(error as DormouseError);
    }
  }
}
