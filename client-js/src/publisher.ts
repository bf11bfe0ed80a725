import { backoffMs } from "./backoff.js";
import { isRetryable, type DormouseError } from "./errors.js";
import type { RoomContext } from "./room-context.js";
import { checkKey, checkKind } from "./names.js";
import { Outbox, type Published, type Unacknowledged } from "./outbox.js";
import { toPayload } from "./payload.js";

/** How to publish. */
export interface PublishOptions {
  /** What kind of event it is, in the application's words; `message` by default. */
  readonly kind?: string;
  /** Names the publish: one that this session stored before is not stored again. The client makes one by default. */
  readonly key?: string;
}

/** How many publishes of a room may wait for their acknowledgement. */
const OUTBOX_LIMIT = 1_000;

/** Sends the publishes of one room, in order, until each is acknowledged. */
export class Publisher {
  readonly #outbox = new Outbox(OUTBOX_LIMIT);
  /** Null while not a member. */
  #object: number | null = null;
  #attempt = 0;
  #pause: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly context: RoomContext<never>) {}

  /** Rejects where it can't be sent at all. */
  publish(data: unknown, options: PublishOptions): Promise<Published> {
    return new Promise((resolve, reject) => {
      const { kind = "message", key = this.context.newKey() } = options;
      checkKind(kind);
      checkKey(key);
      this.#outbox.add({ kind, key, data: toPayload(data), resolve, reject });
      this.pump();
    });
  }

  /** The room is joined under this number. */
  joined(object: number): void {
    this.#object = object;
    this.#attempt = 0;
    this.pump();
  }

  /** The connection is gone: what it did not answer goes out again on the next. */
  paused(): void {
    this.#object = null;
    clearTimeout(this.#pause);
    this.#outbox.rewind();
  }

  /** Gives up what was not sent; the rest still gets its answer. */
  stop(error: DormouseError): void {
    clearTimeout(this.#pause);
    for (const entry of this.#outbox.takeWaiting()) entry.reject(error);
  }

  /** Gives up everything. */
  fail(error: DormouseError): void {
    this.#outbox.rewind();
    this.stop(error);
  }

  /** Sends as much as the server takes. */
  pump(): void {
    while (this.#object !== null && this.context.hasCapacity()) {
      const entry = this.#outbox.next();
      if (!entry) return;
      this.#send(this.#object, entry);
    }
  }

  #send(object: number, entry: Unacknowledged): void {
    const { kind, data, key } = entry;
    try {
      this.context.request("publish", { object, kind, data, key }, {
        ok: ({ offset, time, duplicate }) => {
          this.#attempt = 0;
          this.#outbox.settle(entry);
          entry.resolve({ offset, time, duplicate });
          this.#answered();
        },
        refused: (error) => {
          if (isRetryable(error.code)) this.#outbox.refuse(entry);
          else this.#reject(entry, error);
          this.#answered();
        },
      });
    } catch (error) {
      this.#reject(entry, error as DormouseError);
    }
  }

  #reject(entry: Unacknowledged, error: DormouseError): void {
    this.#outbox.settle(entry);
    entry.reject(error);
  }

  #answered(): void {
    if (!this.#outbox.stalled) return;
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => {
      this.#outbox.rewind();
      this.pump();
    }, backoffMs(this.context.backoff, this.#attempt++, Math.random()));
  }
}
