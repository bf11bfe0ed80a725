import { Deferred } from "./deferred.js";
import { DormouseError, isRetryable, mayBeStored, retryDelayMs } from "./errors.js";
import type { Position, RoomEvent } from "./messages.js";
import { checkKey, checkKind } from "./names.js";
import { checkOptions } from "./options.js";
import { Outbox, type Published, type Unacknowledged } from "./outbox.js";
import { toPayload } from "./payload.js";
import type { RoomContext } from "./room-context.js";

/** How to publish. */
export interface PublishOptions {
  /** The kind of the event, a name that the application chooses; `message` by default. */
  readonly kind?: string;
  /** The name of this publish: the server does not store a second event of this session with the same key. Random by default. */
  readonly key?: string;
}

/** How many publishes of a room may wait for their acknowledgement. */
const OUTBOX_LIMIT = 1_000;

/** A membership in the object, as its `joined` reply describes it. */
export interface Membership {
  readonly object: number;
  readonly epoch: number;
  /** The newest offset of the log at the time of the reply. */
  readonly head: number;
  /** Every event after `from` follows, because an earlier position was continued. */
  readonly isResumed: boolean;
  readonly from: number;
}

/**
 * Sends the publishes of one room, in order, until each is acknowledged.
 *
 * An attempt without an answer may have been stored. After a reconnect the publisher therefore first reads the events
 * that the client missed: an event with the own sender and key is the acknowledgement. What was not among them is sent
 * again with `after`, the offset up to which the log does not contain it. The server refuses this retry if it no longer
 * remembers the keys of all later events.
 */
export class Publisher {
  readonly #outbox = new Outbox(OUTBOX_LIMIT);
  /** Null while not a member. */
  #object: number | null = null;
  /** The newest position of the log that is known. */
  #newest: Position = { epoch: 0, offset: 0 };
  /** Nothing is sent before the event at this offset was received; null if nothing has to be awaited. */
  #sendAfter: number | null = null;
  /** The room was left: only the answers that are outstanding still count. */
  #isStopped = false;
  #onAnswered: (() => void) | null = null;
  #attempt = 0;
  /** The error of the last refused publish that will be sent again. */
  #refusal: DormouseError | null = null;
  #pause: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly context: RoomContext<never>) {}

  /** Rejects if the publish can never be sent. */
  publish(data: unknown, options: PublishOptions): Promise<Published> {
    const result = new Deferred<Published>();
    try {
      checkOptions("publish", options, ["kind", "key"]);
      const { kind = "message", key = this.context.newKey() } = options;
      checkKind(kind);
      checkKey(key);
      this.#outbox.add({ kind, key, data: toPayload(data), absentUntil: null, result });
    } catch (error) {
      result.reject(error as DormouseError);
    }
    this.pump();
    return result.promise;
  }

  /** The room is joined. */
  joined({ object, epoch, head, isResumed, from }: Membership): void {
    this.#object = object;
    this.#newest = { epoch, offset: head };
    this.#attempt = 0;
    this.#sendAfter = isResumed && this.#outbox.hasRetries ? head : null;
    this.#checkedUntil(from);
  }

  /** An event of the log arrived. */
  received({ offset, time, sender, key }: RoomEvent): void {
    this.#learn(offset);
    if (this.#sendAfter === null) return;
    if (key !== undefined && sender === this.context.sender()) {
      this.#outbox.takeRetry(key)?.result.resolve({ offset, time, duplicate: true });
    }
    this.#checkedUntil(offset);
  }

  /** The events up to the head of the log do not all follow. */
  reset(position: Position): void {
    this.#newest = position;
    this.#sendAfter = null;
    this.pump();
  }

  /** The room joins the object again on the same connection: outstanding answers still arrive. */
  suspended(): void {
    this.#object = null;
  }

  /** The connection is lost: what it did not answer is sent again on the next one. */
  disconnected(): void {
    this.#object = null;
    clearTimeout(this.#pause);
    this.#outbox.rewind();
  }

  /** Abandons what is not under way. The rest still receives its answer. */
  stop(error: DormouseError): void {
    this.#isStopped = true;
    clearTimeout(this.#pause);
    for (const { result } of this.#outbox.takeUnsent()) result.reject(error);
  }

  /** Calls `listener` when no answer is outstanding, unless `abandon` comes first. */
  whenAnswered(listener: () => void): void {
    if (this.#outbox.isAwaitingAnswers) this.#onAnswered = listener;
    else listener();
  }

  /** Abandons everything. */
  abandon(error: DormouseError): void {
    this.#onAnswered = null;
    clearTimeout(this.#pause);
    this.#outbox.rewind();
    for (const { result } of this.#outbox.takeUnsent()) result.reject(error);
  }

  /** Sends as much as the server accepts. */
  pump(): void {
    while (this.#object !== null && this.#sendAfter === null && this.context.hasCapacity()) {
      const entry = this.#outbox.next();
      if (!entry) return;
      this.#send(this.#object, entry);
    }
  }

  #send(object: number, entry: Unacknowledged): void {
    const { kind, data, key } = entry;
    const isRetry = entry.absentUntil !== null;
    const { epoch, offset } = (entry.absentUntil ??= this.#newest);
    // Of a new log nothing is known.
    const after = epoch === this.#newest.epoch ? offset : 0;
    try {
      this.context.request("publish", { object, kind, data, key, ...(isRetry && { after }) }, {
        ok: ({ offset, time, duplicate }) => {
          this.#attempt = 0;
          this.#learn(offset);
          this.#outbox.settle(entry);
          entry.result.resolve({ offset, time, duplicate });
          this.#answered();
        },
        refused: (error) => {
          if (!isRetry && !mayBeStored(error.code)) entry.absentUntil = null;
          if (isRetryable(error.code) && !this.#isStopped) {
            this.#refusal = error;
            this.#outbox.refuse(entry);
          }
          else this.#reject(entry, error.code === "key_expired" ? keyExpired(key, after, error) : error);
          this.#answered();
        },
      });
    } catch (error) {
      this.#reject(entry, error as DormouseError);
    }
  }

  /** The events up to this offset were searched for those of earlier attempts. */
  #checkedUntil(offset: number): void {
    if (this.#sendAfter !== null && offset >= this.#sendAfter) {
      this.#outbox.setAbsentUntil({ epoch: this.#newest.epoch, offset });
      this.#sendAfter = null;
    }
    this.pump();
  }

  #learn(offset: number): void {
    if (offset > this.#newest.offset) this.#newest = { ...this.#newest, offset };
  }

  #reject(entry: Unacknowledged, error: DormouseError): void {
    this.#outbox.settle(entry);
    entry.result.reject(error);
  }

  #answered(): void {
    if (!this.#outbox.isAwaitingAnswers) {
      this.#onAnswered?.();
      this.#onAnswered = null;
    }
    const refusal = this.#refusal;
    if (!this.#outbox.stalled || !refusal) return;
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => {
      this.#outbox.rewind();
      this.pump();
    }, retryDelayMs(refusal, this.context.backoff, this.#attempt++));
  }
}

function keyExpired(key: string, after: number, { message }: DormouseError): DormouseError {
  return new DormouseError(
    "key_expired",
    `the event with the key "${key}" may or may not have been stored (${message}); ` +
      `to find out, look for this key and the own session id as sender in history({ after: ${after} })`,
  );
}
