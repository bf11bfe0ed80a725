import { PresencePublisher } from "./presence-publisher.js";
import { backoffMs } from "./backoff.js";
import { Emitter } from "./emitter.js";
import { DormouseError, isRetryable } from "./errors.js";
import type { RoomContext } from "./room-context.js";
import type {
  From,
  Position,
  ResetReason,
  RoomEvent,
  RoomSignal,
  RosterMember,
  ServerBodies,
  ServerMessage,
} from "./messages.js";
import { checkKey } from "./names.js";
import type { Published } from "./outbox.js";
import { toPayload } from "./payload.js";
import { Publisher, type PublishOptions } from "./publisher.js";
import { Reads, type HistoryOptions, type HistoryPage, type RosterOptions, type RosterPage } from "./reads.js";
import type { RequestBody } from "./requests.js";
import type { PresenceChange, Roster } from "./roster.js";
import { RosterSubscription, type Watch } from "./roster-subscription.js";

/**
 * - `joining`: waits for the connection or for the server's answer;
 * - `catching_up`: receives what it missed;
 * - `live`: has everything;
 * - `left`: `leave` was called;
 * - `failed`: the server refused the join for good.
 */
export type RoomState = "joining" | "catching_up" | "live" | "left" | "failed";

/** How to join a room. */
export interface JoinOptions<Presence = unknown> {
  /** Where in the log to start; `"now"` by default. */
  readonly from?: From;
  /** What the roster is to say of this member. Without it, or with null, the member is not in the roster. */
  readonly presence?: Presence | null;
  /** What to be told of the others; `"roster"` by default where there is `presence`, else `"none"`. */
  readonly watch?: Watch;
}

/** What a room reports. */
export interface RoomEvents<Data, Signal, Presence = unknown> {
  /** The next event of the log: every one after the start, once, in order, over any number of connections. */
  event: RoomEvent<Data>;
  signal: RoomSignal<Signal>;
  /** Who came, changed or went; at first everybody came. A reconnect within the server's grace period is no news. */
  presence: PresenceChange<Presence>;
  /** The roster has another version or other counts. */
  roster: { readonly version: number; readonly count: number; readonly users: number };
  /** Everything up to here was delivered. */
  caught_up: Position;
  /** The log can't be continued: drop what you have; the whole log that is kept follows. */
  reset: { readonly reason: ResetReason };
  state: { readonly state: RoomState; readonly error?: DormouseError };
}

/** A room of any types. */
export type AnyRoom = Room<any, any, any>;

/** One joined object. It stays joined over reconnects until `leave`. */
export class Room<Data = unknown, Signal = unknown, Presence = unknown> extends Emitter<
  RoomEvents<Data, Signal, Presence>
> {
  #state: RoomState = "joining";
  #position: Position | null = null;
  #member: number | undefined;
  /** The object's number; null while not a member. */
  #object: number | null = null;
  /** A join is under way. */
  #joining = false;
  #attempt = 0;
  /** Why the room has failed. */
  #failure: DormouseError | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  readonly #from: From;
  readonly #publisher: Publisher;
  readonly #reads: Reads;
  readonly #presence: PresencePublisher;
  readonly #rosterSubscription: RosterSubscription;
  readonly #gone: Promise<void>;
  #resolveGone = () => {};

  /** @internal */
  constructor(
    /** The object's name. */
    readonly name: string,
    options: JoinOptions<Presence>,
    private readonly context: RoomContext<AnyRoom>,
  ) {
    super();
    const { from = "now", presence = null, watch = presence === null ? "none" : "roster" } = options;
    this.#from = from;
    this.#presence = new PresencePublisher(context, presence);
    this.#rosterSubscription = new RosterSubscription(context, watch, {
      presenceChanged: (change) => this.emit("presence", change as PresenceChange<Presence>),
      rosterChanged: () => this.#rosterChanged(),
      broken: (message) => context.broken(`${name}: ${message}`),
    });
    this.#publisher = new Publisher(context);
    this.#reads = new Reads(context.timeoutMs);
    this.#gone = new Promise((resolve) => (this.#resolveGone = resolve));
  }

  get state(): RoomState {
    return this.#state;
  }

  /** The last event that was delivered; null until the room was joined for the first time. */
  get position(): Position | null {
    return this.#position;
  }

  /** The number of this membership, in the roster too; undefined until the room was joined for the first time. */
  get member(): number | undefined {
    return this.#member;
  }

  /** Who is here, as far as `watch` asks for it. While there is no connection it stays as it was. */
  get roster(): Roster<Presence> {
    return this.#rosterSubscription.roster;
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
    this.context.send({ type: "signal", body: { object: this.#object, data: payload, ...(key !== undefined && { key }) } });
    return true;
  }

  /** A page of the log. Waits for a connection; rejects with `timeout` where there is no answer in time. */
  async history(options: HistoryOptions = {}): Promise<HistoryPage<Data>> {
    if (this.#isOver()) throw this.#over();
    const { epoch, events, more } = await this.#reads.read("history", options);
    return { epoch, events: events as RoomEvent<Data>[], more };
  }

  /**
   * Says something else of this member to those who watch; null takes it out of the roster. It is remembered, and said
   * again after a reconnect. Resolves when the server has this, or what was said after it; waits where there is no connection.
   * Rejects with `presence_too_large`, and with `roster_full`: then it is tried again, until there is a place.
   */
  async presence(data: Presence | null): Promise<void> {
    if (this.#isOver()) throw this.#over();
    return this.#presence.set(data);
  }

  /** A page of the roster as it is now, whatever is watched. Waits and rejects as `history` does. */
  async readRoster(options: RosterOptions = {}): Promise<RosterPage<Presence>> {
    if (this.#isOver()) throw this.#over();
    const { version, members: count, users, present, more } = await this.#reads.read("presence.get", options);
    return { version, count, users, members: present as RosterMember<Presence>[], more };
  }

  /** How many members and users are in the roster now. Waits and rejects as `history` does. */
  async count(): Promise<{ readonly members: number; readonly users: number }> {
    const { count: members, users } = await this.readRoster({ limit: 0 });
    return { members, users };
  }

  /** Resolves when the server delivers nothing more. Publishes that were not sent yet are given up. */
  leave(): Promise<void> {
    if (this.#isOver()) return this.#gone;
    this.context.leaving(this);
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
    this.#presence.paused();
    this.#rosterSubscription.paused();
    if (this.#isOver()) this.#finish();
    else this.#setState("joining");
  }

  /** There will be no connection unless the application asks for one. @internal */
  giveUp(error: DormouseError): void {
    this.#publisher.fail(error);
    this.#reads.fail(error);
    this.#presence.fail(error);
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
        return;
      case "roster":
        return this.#rosterSubscription.received(message.body);
      case "presence":
        return this.#rosterSubscription.changed(message.body);
    }
  }

  #join(): void {
    this.#joining = true;
    const from: From = this.#position ? { after: this.#position } : this.#from;
    const presence = this.#presence.joining();
    const watch = this.#rosterSubscription.joining();
    const member = this.#member;
    const body = { object: this.name, from, presence, watch, ...(member !== undefined && { member }) };
    try {
      this.context.request("join", body, {
        ok: (reply) => this.#joined(reply),
        refused: (error) => this.#joinRefused(error),
      });
    } catch (error) {
      this.#joinRefused(error as DormouseError);
    }
  }

  #joined({ object, epoch, from, member, reset }: ServerBodies["joined"]): void {
    this.#joining = false;
    this.#attempt = 0;
    if (this.#isOver()) return this.#sendLeave(object);
    this.#object = object;
    this.#member = member;
    this.context.joined(this, object);
    this.#presence.joined(object);
    this.#rosterSubscription.joined(object);
    if (reset) this.#reset(reset, { epoch, offset: from });
    else {
      this.#position = { epoch, offset: from };
      this.#setState("catching_up");
    }
    if (!this.#isMember(object)) return;
    this.#reads.joined((type, body, waiter) => this.context.request(type, { object, ...body } as RequestBody<typeof type>, waiter));
    this.#publisher.joined(object);
  }

  #joinRefused(error: DormouseError): void {
    this.#joining = false;
    if (this.#isOver()) return this.#finish();
    if (error.code === "roster_full" && this.#presence.withhold(error)) return this.#join();
    if (isRetryable(error.code)) {
      this.#retry = setTimeout(() => this.#join(), backoffMs(this.context.backoff, this.#attempt++, Math.random()));
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
        return this.context.broken(`${this.name}: event ${event.offset} came after ${offset}`);
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
      return this.context.broken(`${this.name}: caught up at ${offset}, but the last event was ${position.offset}`);
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
    this.context.request("leave", { object }, { ok: () => this.#finish(), refused: () => this.#finish() });
  }

  /** False also where a listener changed something meanwhile. */
  #isMember(object: number | null): boolean {
    return object !== null && this.#object === object && !this.#isOver();
  }

  #isOver(): boolean {
    return this.#state === "left" || this.#state === "failed";
  }

  /** Why nothing can be asked any more. */
  #over(): DormouseError {
    return this.#failure ?? new DormouseError("left", `${this.name} is not joined any more`);
  }

  #end(state: "left" | "failed", error = this.#over()): void {
    clearTimeout(this.#retry);
    if (state === "failed") this.#failure = error;
    this.#setState(state, error);
    this.#publisher.stop(error);
    this.#reads.fail(error);
    this.#presence.stop(error);
    this.#rosterSubscription.paused();
  }

  #finish(): void {
    this.giveUp(this.#over());
    this.context.gone(this);
    this.#resolveGone();
  }

  #rosterChanged(): void {
    const { version, count, users } = this.roster;
    this.emit("roster", { version: version!, count, users });
  }

  #setState(state: RoomState, error?: DormouseError): void {
    if (state === this.#state) return;
    this.#state = state;
    this.emit("state", { state, ...(state === "failed" && error && { error }) });
  }
}
