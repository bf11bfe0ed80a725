import type { Deferred } from "./deferred.js";
import { DormouseError } from "./errors.js";
import type { Position } from "./messages.js";

/** The result of a publish. */
export interface Published {
  /** The offset of the event in the log. */
  readonly offset: number;
  /** The time of the event, in milliseconds since the Unix epoch. */
  readonly time: number;
  /** The event had been stored before under the same key; nothing was added. */
  readonly duplicate: boolean;
}

/** A publish without an acknowledgement. */
export interface Unacknowledged {
  readonly kind: string;
  readonly data: unknown;
  /** The same for every attempt, so that the event is stored once. */
  readonly key: string;
  /**
   * The newest position up to which the log is known not to contain the event of an earlier attempt: at first the newest
   * position that was known when the first attempt was sent. Null while there is no such attempt.
   */
  absentUntil: Position | null;
  readonly result: Deferred<Published>;
}

/**
 * The publishes of one room that are not acknowledged, in the order in which the application made them. Pure.
 *
 * Every entry either waits or was sent. If the server refuses one for now, it refuses the later ones as well. Then
 * nothing is sent until everything that was sent is answered, and the refused entries go first again.
 */
export class Outbox {
  #waiting: Unacknowledged[] = [];
  readonly #sent = new Set<Unacknowledged>();
  readonly #refused = new Set<Unacknowledged>();

  constructor(private readonly limit: number) {}

  /** Throws `outbox_full`. */
  add(entry: Unacknowledged): void {
    if (this.#waiting.length + this.#sent.size >= this.limit) {
      throw new DormouseError("outbox_full", `${this.limit} publishes of this room wait for their acknowledgement`);
    }
    this.#waiting.push(entry);
  }

  /** Takes the next entry that may be sent; it then counts as sent. */
  next(): Unacknowledged | undefined {
    if (this.#refused.size > 0) return undefined;
    const entry = this.#waiting.shift();
    if (entry) this.#sent.add(entry);
    return entry;
  }

  /** The entry was acknowledged, or refused permanently. */
  settle(entry: Unacknowledged): void {
    this.#sent.delete(entry);
  }

  /** The entry was refused for now. */
  refuse(entry: Unacknowledged): void {
    this.#refused.add(entry);
  }

  /** Entries were refused and no answer is outstanding: after a pause, call `rewind`. */
  get stalled(): boolean {
    return this.#refused.size > 0 && this.#refused.size === this.#sent.size;
  }

  /** An answer is outstanding. */
  get isAwaitingAnswers(): boolean {
    return this.#sent.size > this.#refused.size;
  }

  /** Everything must be sent again: there is a new connection, or the pause is over. */
  rewind(): void {
    this.#waiting = [...this.#sent, ...this.#waiting];
    this.#sent.clear();
    this.#refused.clear();
  }

  /** A waiting entry may have been stored by an earlier attempt. */
  get hasRetries(): boolean {
    return this.#waiting.some(({ absentUntil }) => absentUntil !== null);
  }

  /** The log up to this position contains no waiting entry. */
  setAbsentUntil(position: Position): void {
    for (const entry of this.#waiting) if (entry.absentUntil?.epoch === position.epoch) entry.absentUntil = position;
  }

  /** Takes out the waiting entry with this key that may have been stored by an earlier attempt. */
  takeRetry(key: string): Unacknowledged | undefined {
    const at = this.#waiting.findIndex((entry) => entry.absentUntil !== null && entry.key === key);
    return at < 0 ? undefined : this.#waiting.splice(at, 1)[0];
  }

  /** Takes out every entry for which no answer is outstanding. */
  takeUnsent(): Unacknowledged[] {
    const refused = [...this.#refused];
    for (const entry of refused) this.#sent.delete(entry);
    this.#refused.clear();
    return [...refused, ...this.#waiting.splice(0)];
  }
}
