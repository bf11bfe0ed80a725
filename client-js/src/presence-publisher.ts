import { packedLength } from "./codec.js";
import { Deferred } from "./deferred.js";
import { DormouseError, isRetryable, retryDelayMs } from "./errors.js";
import { toPayload } from "./payload.js";
import type { RoomContext } from "./room-context.js";

/** A presence that was sent and not answered, and the promise that waits for the answer. */
interface Sent {
  readonly data: unknown;
  readonly result: Deferred<void> | null;
}

/**
 * Publishes the presence of a room's own member: with the join, then with one request at a time. Only the newest
 * presence is sent; one that was replaced before it was sent is skipped.
 */
export class PresencePublisher {
  /** The presence that the application wants; null for none. */
  #desired: unknown;
  /** The presence that the server accepted last. */
  #accepted: unknown = null;
  /** A presence that the server may still have in the roster, also while the connection is lost; null if it has none. */
  #listed: unknown = null;
  /** The desired presence is not sent yet, and the promise that waits for it. */
  #isDue = false;
  #result: Deferred<void> | null = null;
  #sent: Sent | null = null;
  /** Null while not a member. */
  #object: number | null = null;
  /** The roster was full: this connection joins without presence and asks again later. */
  #isWithheld = false;
  #attempt = 0;
  #pause: ReturnType<typeof setTimeout> | null = null;

  /** Throws if `presence` cannot be sent. */
  constructor(
    private readonly context: RoomContext<never>,
    presence: unknown,
  ) {
    this.#desired = this.check(presence);
  }

  /** A presence that the server may have in the roster; null if it has none. */
  get listed(): unknown {
    return this.#listed;
  }

  /** Rejects if the presence cannot be sent or is refused. */
  set(presence: unknown): Promise<void> {
    let payload: unknown;
    try {
      payload = this.check(presence);
    } catch (error) {
      return Promise.reject(error);
    }
    const { promise } = (this.#result ??= new Deferred<void>());
    this.replace(payload);
    return promise;
  }

  /** As `set`, for a presence that was checked, without a promise. */
  replace(payload: unknown): void {
    this.#desired = payload;
    this.#isDue = true;
    this.#pump();
  }

  /** A copy of a presence that can be sent, not larger than the server accepts, if the limit is known. Throws otherwise. */
  check(presence: unknown): unknown {
    if (presence === null) return null;
    const payload = toPayload(presence, "presence");
    const limit = this.context.limits()?.presence_bytes ?? Infinity;
    if (packedLength(payload) > limit) {
      throw new DormouseError("presence_too_large", `the presence is larger than the server's limit of ${limit} bytes`);
    }
    return payload;
  }

  /** The presence that a join carries. */
  joining(): unknown {
    this.#takeBack();
    if (this.#isWithheld) return null;
    return this.#take().data;
  }

  /** The join was refused because the roster is full. True if it can be repeated without presence. */
  withhold(error: DormouseError): boolean {
    if (this.#sent?.data == null) return false;
    this.#sent.result?.reject(error);
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

  /** The membership has ended: the next join carries the desired presence. */
  disconnected(): void {
    this.#object = null;
    this.#isWithheld = false;
    this.#stopPause();
    this.#takeBack();
  }

  /** The application ended the wait for an answer. The server has removed, or will remove, the member from the roster. */
  abandon(error: DormouseError): void {
    this.#takeBack();
    this.#result?.reject(error);
    this.#result = null;
    this.#listed = null;
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
    const sent = { data: this.#desired, result: this.#result };
    this.#result = null;
    this.#isDue = false;
    this.#listed = sent.data ?? this.#listed;
    return (this.#sent = sent);
  }

  /** What was sent and not answered must be sent again, or what replaced it. */
  #takeBack(): void {
    const result = this.#sent?.result;
    if (this.#sent) this.#isDue = true;
    this.#sent = null;
    if (!result) return;
    if (this.#result) result.resolve(this.#result.promise);
    else this.#result = result;
  }

  #done({ data, result }: Sent): void {
    this.#sent = null;
    this.#accepted = data;
    this.#listed = data;
    this.#attempt = 0;
    result?.resolve();
    this.#pump();
  }

  #refused(sent: Sent, error: DormouseError): void {
    if (isRetryable(error.code)) {
      // There may never be a place in the roster: the promise rejects, and the desired presence is kept.
      if (error.code === "roster_full") {
        sent.result?.reject(error);
        this.#sent = { ...sent, result: null };
      }
      this.#takeBack();
      return this.#retry(error);
    }
    this.#sent = null;
    sent.result?.reject(error);
    // A join that carried it would be refused as well.
    if (!this.#isDue) this.#desired = this.#accepted;
    this.#pump();
  }

  #retry(error?: DormouseError): void {
    this.#pause = setTimeout(() => {
      this.#pause = null;
      this.#pump();
    }, retryDelayMs(error, this.context.backoff, this.#attempt++));
  }

  #stopPause(): void {
    if (this.#pause !== null) clearTimeout(this.#pause);
    this.#pause = null;
  }
}
