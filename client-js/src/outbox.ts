import { DormouseError } from "./errors.js";

/** An acknowledged publish. */
export interface Published {
  /** Where the event stands in the log. */
  readonly offset: number;
  /** The time that it got, in milliseconds since the Unix epoch. */
  readonly time: number;
  /** It was stored before, under the same key; nothing was added. */
  readonly duplicate: boolean;
}

/** A publish without an acknowledgement. */
export interface Unacknowledged {
  readonly kind: string;
  readonly data: unknown;
  /** The same for every attempt, so that it is stored once. */
  readonly key: string;
  readonly resolve: (published: Published) => void;
  readonly reject: (error: DormouseError) => void;
}

/**
 * The publishes of one room that are not acknowledged, in the order in which the application made them. Pure.
 *
 * Every entry either waits or was sent. Where the server refuses one for now, it refuses the later ones as well: then
 * nothing is sent until all that was sent is answered, and what was refused goes first again.
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

  /** Takes the next one that may be sent; from now on it counts as sent. */
  next(): Unacknowledged | undefined {
    if (this.#refused.size > 0) return undefined;
    const entry = this.#waiting.shift();
    if (entry) this.#sent.add(entry);
    return entry;
  }

  /** It was acknowledged or refused for good. */
  settle(entry: Unacknowledged): void {
    this.#sent.delete(entry);
  }

  /** It was refused for now. */
  refuse(entry: Unacknowledged): void {
    this.#refused.add(entry);
  }

  /** Something was refused and nothing is under way any more: time to `rewind`, after a pause. */
  get stalled(): boolean {
    return this.#refused.size > 0 && this.#refused.size === this.#sent.size;
  }

  /** Everything is to be sent again: the connection is another one, or the pause is over. */
  rewind(): void {
    this.#waiting = [...this.#sent, ...this.#waiting];
    this.#sent.clear();
    this.#refused.clear();
  }

  /** Takes out the entries that were not sent. */
  takeWaiting(): Unacknowledged[] {
    return this.#waiting.splice(0);
  }
}
