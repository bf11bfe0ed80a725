import { DormouseError } from "./errors.js";
import type { RoomEvent, RosterMember } from "./messages.js";
import type { Replies, RequestBody, Waiter } from "./requests.js";

/** Which part of the log to read; the bounds themselves are left out. */
export interface HistoryOptions {
  /** Only events after this offset. */
  readonly after?: number;
  /** Only events before this offset. */
  readonly before?: number;
  /** At most so many; the server may give fewer. */
  readonly limit?: number;
  /** Newest first. */
  readonly reverse?: boolean;
}

/** A page of the log. */
export interface HistoryPage<Data = unknown> {
  /** The incarnation of the log that was read. */
  readonly epoch: number;
  readonly events: RoomEvent<Data>[];
  /** The range holds further events: go on behind the last one of this page. */
  readonly more: boolean;
}

/** Which part of a roster to read. */
export interface RosterOptions {
  /** Only members after this number: the last one of the page before. */
  readonly after?: number;
  /** At most so many; the server may give fewer. */
  readonly limit?: number;
}

/** A page of a roster. */
export interface RosterPage<Presence = unknown> {
  /** The version of the roster that was read. */
  readonly version: number;
  /** How many members the whole roster has. */
  readonly count: number;
  /** How many users they are. */
  readonly users: number;
  /** In the order of their numbers. */
  readonly members: RosterMember<Presence>[];
  /** There are members after the last one of this page. */
  readonly more: boolean;
}

/** Requests that change nothing. */
export type ReadType = "history" | "presence.get";
type ReadBody<Type extends ReadType> = Omit<RequestBody<Type>, "object">;
type Send = <Type extends ReadType>(type: Type, body: ReadBody<Type>, waiter: Waiter<Replies[Type]>) => void;

interface Read {
  readonly start: (send: Send) => void;
  readonly reject: (error: DormouseError) => void;
}

/** Reads without an answer. Another connection just sends them again. */
export class Reads {
  readonly #open = new Set<Read>();
  #send: Send | null = null;

  constructor(private readonly timeoutMs: number) {}

  /** Resolves with the reply, or rejects with `timeout` where there was no connection or no answer in time. */
  read<Type extends ReadType>(type: Type, body: ReadBody<Type>): Promise<Replies[Type]> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#open.delete(read);
        reject(new DormouseError("timeout", `no answer within ${this.timeoutMs} ms`));
      }, this.timeoutMs);
      const end = (): boolean => {
        clearTimeout(timer);
        return this.#open.delete(read);
      };
      const waiter: Waiter<Replies[Type]> = {
        ok: (reply) => end() && resolve(reply),
        refused: (error) => end() && reject(error),
      };
      const read: Read = { start: (send) => send(type, body, waiter), reject: waiter.refused };
      this.#open.add(read);
      this.#start(read);
    });
  }

  /** The room is joined: requests go out through `send`. */
  joined(send: Send): void {
    this.#send = send;
    for (const read of this.#open) this.#start(read);
  }

  /** The connection is gone. */
  paused(): void {
    this.#send = null;
  }

  /** There will be no answers. */
  fail(error: DormouseError): void {
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
