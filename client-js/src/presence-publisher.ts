import { backoffMs } from "./backoff.js";
import { packedLength } from "./codec.js";
import { DormouseError, isRetryable } from "./errors.js";
import type { RoomContext } from "./room-context.js";
import { toPayload } from "./payload.js";

/** Waits until the server has taken a presence, or a later one. */
class Waiter {
  resolve!: (value: void | Promise<void>) => void;
  reject!: (error: DormouseError) => void;
  readonly promise = new Promise<void>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });
}

/** What was sent and not answered, and who waits for that. */
interface Sent {
  readonly data: unknown;
  readonly waiter: Waiter | null;
}

/**
 * Tells the server what a room's own member says of itself: with the join, then by one request at a time, the newest only.
 * A wish that was replaced before it was sent is never told.
 */
export class PresencePublisher {
  /** What to say; null for nothing. */
  #desired: unknown;
  /** What the server took last. */
  #accepted: unknown = null;
  /** The wish is not sent, and who waits for it. */
  #isDue = false;
  #waiter: Waiter | null = null;
  #sent: Sent | null = null;
  /** Null while not a member. */
  #object: number | null = null;
  /** The roster was full: this connection joins without presence and asks again later. */
  #isWithheld = false;
  #attempt = 0;
  #pause: ReturnType<typeof setTimeout> | null = null;

  /** Throws where `presence` can't be sent. */
  constructor(
    private readonly context: RoomContext<never>,
    presence: unknown,
  ) {
    this.#desired = this.#check(presence);
  }

  /** Rejects where it can't be sent, or is refused. */
  async set(presence: unknown): Promise<void> {
    this.#desired = this.#check(presence);
    this.#isDue = true;
    const { promise } = (this.#waiter ??= new Waiter());
    this.#pump();
    return promise;
  }

  /** What a join carries. */
  joining(): unknown {
    this.#takeBack();
    if (this.#isWithheld) return null;
    return this.#take().data;
  }

  /** Whether a join that was refused because the roster is full can be tried without presence. */
  withhold(error: DormouseError): boolean {
    if (this.#sent?.data == null) return false;
    this.#sent.waiter?.reject(error);
    this.#sent = null;
    this.#isDue = true;
    return (this.#isWithheld = true);
  }

  /** The room is joined under this number. */
  joined(object: number): void {
    this.#object = object;
    if (this.#isWithheld) {
      this.#accepted = null;
      this.#retry();
    } else if (this.#sent) this.#done(this.#sent);
  }

  /** The connection is gone: the next join says everything. */
  paused(): void {
    this.#object = null;
    this.#isWithheld = false;
    this.#stopPause();
    this.#takeBack();
  }

  /** Nobody waits any more. */
  fail(error: DormouseError): void {
    this.#takeBack();
    this.#waiter?.reject(error);
    this.#waiter = null;
  }

  /** The room was left. */
  stop(error: DormouseError): void {
    this.paused();
    this.fail(error);
  }

  #pump(): void {
    if (this.#object === null || !this.#isDue || this.#sent || this.#pause !== null) return;
    const sent = this.#take();
    const refused = (error: DormouseError): void => {
      if (this.#sent === sent) this.#refused(sent, error);
    };
    try {
      this.context.request("presence.set", { object: this.#object, data: sent.data }, {
        ok: () => {
          if (this.#sent === sent) this.#done(sent);
        },
        refused,
      });
    } catch (error) {
      refused(error as DormouseError);
    }
  }

  #take(): Sent {
    const sent = { data: this.#desired, waiter: this.#waiter };
    this.#waiter = null;
    this.#isDue = false;
    return (this.#sent = sent);
  }

  /** What was sent and not answered is to be sent again, or what replaced it. */
  #takeBack(): void {
    const waiter = this.#sent?.waiter;
    if (this.#sent) this.#isDue = true;
    this.#sent = null;
    if (!waiter) return;
    if (this.#waiter) waiter.resolve(this.#waiter.promise);
    else this.#waiter = waiter;
  }

  #done({ data, waiter }: Sent): void {
    this.#sent = null;
    this.#accepted = data;
    this.#attempt = 0;
    waiter?.resolve();
    this.#pump();
  }

  #refused(sent: Sent, error: DormouseError): void {
    if (isRetryable(error.code)) {
      // There may never be a place: who waits is told, and the wish stays.
      if (error.code === "roster_full") {
        sent.waiter?.reject(error);
        this.#sent = { ...sent, waiter: null };
      }
      this.#takeBack();
      return this.#retry();
    }
    this.#sent = null;
    sent.waiter?.reject(error);
    // A join that carried it would be refused as well.
    if (!this.#isDue) this.#desired = this.#accepted;
    this.#pump();
  }

  #retry(): void {
    this.#pause = setTimeout(() => {
      this.#pause = null;
      this.#pump();
    }, backoffMs(this.context.backoff, this.#attempt++, Math.random()));
  }

  #stopPause(): void {
    if (this.#pause !== null) clearTimeout(this.#pause);
    this.#pause = null;
  }

  /** A copy, no larger than the server takes as far as that is known. */
  #check(presence: unknown): unknown {
    if (presence === null) return null;
    const payload = toPayload(presence);
    const limit = this.context.limits()?.presence_bytes ?? Infinity;
    if (packedLength(payload) > limit) {
      throw new DormouseError("presence_too_large", `a presence has at most ${limit} bytes`);
    }
    return payload;
  }
}
