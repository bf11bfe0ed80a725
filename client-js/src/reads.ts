import { DormouseError } from "./errors.js";
import type { RoomEvent, ServerBodies } from "./messages.js";
import type { Waiter } from "./requests.js";

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

type Send = (options: HistoryOptions, waiter: Waiter<ServerBodies["history"]>) => void;

interface Read {
  readonly options: HistoryOptions;
  readonly resolve: (page: HistoryPage) => void;
  readonly reject: (error: unknown) => void;
}

/** History requests without an answer. They change nothing, so another connection just sends them again. */
export class Reads {
  readonly #open = new Set<Read>();
  #send: Send | null = null;

  constructor(private readonly timeoutMs: number) {}

  /** Resolves with the page, or rejects with `timeout` where there was no connection or no answer in time. */
  read(options: HistoryOptions): Promise<HistoryPage> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#open.delete(read);
        reject(new DormouseError("timeout", `no answer within ${this.timeoutMs} ms`));
      }, this.timeoutMs);
      const end = (): boolean => {
        clearTimeout(timer);
        return this.#open.delete(read);
      };
      const read: Read = {
        options,
        resolve: (page) => end() && resolve(page),
        reject: (error) => end() && reject(error),
      };
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
      this.#send?.(read.options, {
        ok: ({ epoch, events, more }) => read.resolve({ epoch, events, more }),
        refused: read.reject,
      });
    } catch (error) {
      read.reject(error);
    }
  }
}
