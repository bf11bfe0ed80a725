import { backoffMs } from "./backoff.js";
import { Emitter } from "./emitter.js";
import { DormouseError, isRetryable } from "./errors.js";
import type { Link } from "./link.js";
import type { From, Position, ResetReason, RoomEvent, RoomSignal, ServerBodies, ServerMessage } from "./messages.js";
import { checkKey } from "./names.js";
import type { Published } from "./outbox.js";
import { toPayload } from "./payload.js";
import { Publisher, type PublishOptions } from "./publisher.js";
import { Reads, type HistoryOptions, type HistoryPage } from "./reads.js";

/**
 * - `joining`: waits for the connection or for the server's answer;
 * - `catching_up`: receives what it missed;
 * - `live`: has everything;
 * - `left`: `leave` was called;
 * - `failed`: the server refused the join for good.
 */
export type RoomState = "joining" | "catching_up" | "live" | "left" | "failed";

/** What a room reports. */
export interface RoomEvents<Data, Signal> {
  /** The next event of the log: every one after the start, once, in order, over any number of connections. */
  event: RoomEvent<Data>;
  signal: RoomSignal<Signal>;
  /** Everything up to here was delivered. */
  caught_up: Position;
  /** The log can't be continued: drop what you have; the whole log that is kept follows. */
  reset: { readonly reason: ResetReason };
  state: { readonly state: RoomState; readonly error?: DormouseError };
}

/** A room of any types. */
export type AnyRoom = Room<any, any>;

/** One joined object. It stays joined over reconnects until `leave`. */
export class Room<Data = unknown, Signal = unknown> extends Emitter<RoomEvents<Data, Signal>> {
  #state: RoomState = "joining";
  #position: Position | null = null;
  /** The object's number; null while not a member. */
  #object: number | null = null;
  /** A join is under way. */
  #joining = false;
  #attempt = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  readonly #publisher: Publisher;
  readonly #reads: Reads;
  readonly #gone: Promise<void>;
  #resolveGone = () => {};

  /** @internal */
  constructor(
    /** The object's name. */
    readonly name: string,
    private readonly from: From,
    private readonly link: Link<AnyRoom>,
  ) {
    super();
    this.#publisher = new Publisher(link);
    this.#reads = new Reads(link.timeoutMs);
    this.#gone = new Promise((resolve) => (this.#resolveGone = resolve));
  }

  get state(): RoomState {
    return this.#state;
  }

  /** The last event that was delivered; null until the room was joined for the first time. */
  get position(): Position | null {
    return this.#position;
  }

  /**
   * Stores an event and delivers it to every member, this one too. Resolves when the event is on disk. Without a
   * connection it waits and is sent by itself. Publishes of one room are stored in the order of these calls, each once.
   */
  publish(data: Data, options: PublishOptions = {}): Promise<Published> {
    return this.#isOver() ? Promise.reject(this.#over()) : this.#publisher.publish(data, options);
  }

  /**
   * Delivers to the members of now, this one too, without storing. False where there is no connection: a signal does
   * not wait. For members that are slow the newest of each `key` is kept.
   */
  signal(data: Signal, options: { readonly key?: string } = {}): boolean {
    const { key } = options;
    if (key !== undefined) checkKey(key);
    const payload = toPayload(data);
    if (this.#object === null || this.#isOver()) return false;
    this.link.send({ type: "signal", body: { object: this.#object, data: payload, ...(key !== undefined && { key }) } });
    return true;
  }

  /** A page of the log. Waits for a connection; rejects with `timeout` where there is no answer in time. */
  history(options: HistoryOptions = {}): Promise<HistoryPage<Data>> {
    if (this.#isOver()) return Promise.reject(this.#over());
    return this.#reads.read(options) as Promise<HistoryPage<Data>>;
  }

  /** Resolves when the server delivers nothing more. Publishes that were not sent yet are given up. */
  leave(): Promise<void> {
    if (this.#isOver()) return this.#gone;
    this.link.leaving(this);
    this.#end("left");
    if (this.#object !== null) this.#sendLeave(this.#object);
    else if (!this.#joining) this.#finish();
    return this.#gone;
  }

  /** A connection is there. @internal */
  connected(): void {
    this.#attempt = 0;
    if (this.#object === null && !this.#joining) this.#join();
  }

  /** The connection is gone. @internal */
  disconnected(): void {
    clearTimeout(this.#retry);
    this.#object = null;
    this.#joining = false;
    this.#publisher.paused();
    this.#reads.paused();
    if (this.#isOver()) this.#finish();
    else this.#setState("joining");
  }

  /** There will be no connection unless the application asks for one. @internal */
  giveUp(error: DormouseError): void {
    this.#publisher.fail(error);
    this.#reads.fail(error);
  }

  /** The server takes more publishes. @internal */
  pump(): void {
    this.#publisher.pump();
  }

  /** A message for this room. @internal */
  received(message: ServerMessage): void {
    if (this.#isOver()) return;
    switch (message.type) {
      case "events":
        return this.#deliver(message.body.events);
      case "caught_up":
        return this.#caughtUp(message.body.offset);
      case "reset":
        return this.#reset(message.body.reason, { epoch: message.body.epoch, offset: message.body.from });
      case "signals":
        for (const signal of message.body.signals) this.emit("signal", signal as RoomSignal<Signal>);
    }
  }

  #join(): void {
    this.#joining = true;
    const from: From = this.#position ? { after: this.#position } : this.from;
    this.link.request("join", { object: this.name, from }, {
      ok: (reply) => this.#joined(reply),
      refused: (error) => this.#joinRefused(error),
    });
  }

  #joined({ object, epoch, from, reset }: ServerBodies["joined"]): void {
    this.#joining = false;
    this.#attempt = 0;
    if (this.#isOver()) return this.#sendLeave(object);
    this.#object = object;
    this.link.joined(this, object);
    if (reset) this.#reset(reset, { epoch, offset: from });
    else {
      this.#position = { epoch, offset: from };
      this.#setState("catching_up");
    }
    if (!this.#isMember(object)) return;
    this.#reads.joined((options, waiter) => this.link.request("history", { object, ...options }, waiter));
    this.#publisher.joined(object);
  }

  #joinRefused(error: DormouseError): void {
    this.#joining = false;
    if (this.#isOver()) return this.#finish();
    if (isRetryable(error.code)) {
      this.#retry = setTimeout(() => this.#join(), backoffMs(this.link.backoff, this.#attempt++, Math.random()));
      return;
    }
    this.#end("failed", error);
    this.#finish();
  }

  #deliver(events: readonly RoomEvent[]): void {
    const object = this.#object;
    for (const event of events) {
      const { epoch, offset } = this.#position!;
      if (event.offset !== offset + 1) {
        return this.link.broken(`${this.name}: event ${event.offset} came after ${offset}`);
      }
      this.#position = { epoch, offset: event.offset };
      this.emit("event", event as RoomEvent<Data>);
      // A listener may have left or disconnected: what it did not see counts as not delivered.
      if (!this.#isMember(object)) return;
    }
  }

  #caughtUp(offset: number): void {
    const position = this.#position!;
    if (offset !== position.offset) {
      return this.link.broken(`${this.name}: caught up at ${offset}, but the last event was ${position.offset}`);
    }
    this.#setState("live");
    this.emit("caught_up", position);
  }

  #reset(reason: ResetReason, position: Position): void {
    const object = this.#object;
    this.#position = position;
    this.emit("reset", { reason });
    if (this.#isMember(object)) this.#setState("catching_up");
  }

  #sendLeave(object: number): void {
    this.link.request("leave", { object }, { ok: () => this.#finish(), refused: () => this.#finish() });
  }

  /** False also where a listener changed something meanwhile. */
  #isMember(object: number | null): boolean {
    return object !== null && this.#object === object && !this.#isOver();
  }

  #isOver(): boolean {
    return this.#state === "left" || this.#state === "failed";
  }

  #over(): DormouseError {
    return new DormouseError("left", `${this.name} is not joined any more`);
  }

  #end(state: "left" | "failed", error = this.#over()): void {
    clearTimeout(this.#retry);
    this.#setState(state, error);
    this.#publisher.stop(error);
    this.#reads.fail(error);
  }

  #finish(): void {
    this.giveUp(this.#over());
    this.link.gone(this);
    this.#resolveGone();
  }

  #setState(state: RoomState, error?: DormouseError): void {
    if (state === this.#state) return;
    this.#state = state;
    this.emit("state", { state, ...(state === "failed" && error && { error }) });
  }
}
