import { Emitter } from "./emitter.js";
import { isEqual } from "./equal.js";
import { DormouseError, isRetryable, retryDelayMs } from "./errors.js";
import { watchOf, type JoinOptions } from "./join-options.js";
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
import { checkOptions } from "./options.js";
import type { Published } from "./outbox.js";
import { toPayload } from "./payload.js";
import { PresencePublisher } from "./presence-publisher.js";
import { Publisher, type PublishOptions } from "./publisher.js";
import { Reads, type HistoryOptions, type HistoryPage, type RosterOptions, type RosterPage } from "./reads.js";
import { refusal, type RequestBody } from "./requests.js";
import type { RoomContext } from "./room-context.js";
import type { PresenceChange, Roster } from "./roster.js";
import { RosterSubscription } from "./roster-subscription.js";

/**
 * - `joining`: waits for the connection or for the server's answer;
 * - `catching_up`: receives the events that it missed;
 * - `live`: has received every event;
 * - `left`: `leave` was called;
 * - `failed`: the server refused the join permanently.
 */
export type RoomState = "joining" | "catching_up" | "live" | "left" | "failed";

/** The events of a room. */
export interface RoomEvents<Data, Signal, Presence = unknown> {
  /** The next event of the log: every event after the start, once, in order, over any number of connections. */
  event: RoomEvent<Data>;
  signal: RoomSignal<Signal>;
  /**
   * The members that joined, changed or left. The first one has every member of the roster. A reconnect within the
   * server's grace period causes no change.
   */
  presence: PresenceChange<Presence>;
  /** The roster has a new version or new counts. */
  roster: { readonly version: number; readonly count: number; readonly users: number };
  /** Every event up to this position was delivered. */
  caught_up: Position;
  /** The log cannot be continued. Drop the state that was built from it: all events that the server keeps follow. */
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
  /** How often the application joined the room, minus how often it left it. */
  #joins = 1;
  #position: Position | null = null;
  #member: number | undefined;
  /** The object's number; null while not a member. */
  #object: number | null = null;
  /** A join is under way. */
  #joining = false;
  /** The join that is under way asks for less of the roster than the application wants by now. */
  #isJoinOutdated = false;
  #attempt = 0;
  /** Why the room has failed. */
  #failure: DormouseError | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** The presence of a room that was left and that the server may still have in the roster; null if it has none. */
  #abandonedPresence: unknown = null;
  readonly #from: From;
  readonly #publisher: Publisher;
  readonly #reads: Reads;
  readonly #presence: PresencePublisher;
  readonly #rosterSubscription: RosterSubscription;
  readonly #left: Promise<void>;
  #resolveLeft = () => {};

  /** @internal */
  constructor(
    /** The object's name. */
    readonly name: string,
    options: JoinOptions<Presence>,
    private readonly context: RoomContext<AnyRoom>,
  ) {
    super();
    this.#from = options.from ?? "now";
    this.#presence = new PresencePublisher(context, options.presence ?? null);
    this.#rosterSubscription = new RosterSubscription(context, watchOf(options), {
      presenceChanged: (change) => this.emit("presence", change as PresenceChange<Presence>),
      rosterChanged: () => this.#rosterChanged(),
      protocolError: (message) => context.protocolError(`${name}: ${message}`),
    });
    this.#publisher = new Publisher(context);
    this.#reads = new Reads(context.timeoutMs, context.backoff);
    this.#left = new Promise((resolve) => (this.#resolveLeft = resolve));
  }

  get state(): RoomState {
    return this.#state;
  }

  /** The position of the last event that was delivered; null until the room was joined for the first time. */
  get position(): Position | null {
    return this.#position;
  }

  /** The number of this membership, also in the roster; undefined until the room was joined for the first time. */
  get member(): number | undefined {
    return this.#member;
  }

  /** The roster, as far as `watch` asks for it. Without a connection it stays as it was. */
  get roster(): Roster<Presence> {
    return this.#rosterSubscription.roster;
  }

  /**
   * Stores an event and delivers it to every member, including this one. Resolves when the event is on disk. Without a
   * connection the publish waits. The publishes of one room are stored in the order of these calls, each once. Rejects
   * with `key_expired` if the client was away for so long that neither it nor the server can tell whether the event was stored.
   */
  publish(data: Data, options: PublishOptions = {}): Promise<Published> {
    return this.#isOver() ? Promise.reject(this.#over()) : this.#publisher.publish(data, options);
  }

  /**
   * Delivers data to the present members, including this one, without storing it. Returns false if there is no
   * connection: a signal does not wait. A slow member receives only the newest signal of each `key`.
   */
  signal(data: Signal, options: { readonly key?: string } = {}): boolean {
    checkOptions("signal", options, ["key"]);
    const { key } = options;
    if (key !== undefined) checkKey(key);
    const payload = toPayload(data);
    if (this.#object === null || this.#isOver()) return false;
    this.context.send({ type: "signal", body: { object: this.#object, data: payload, ...(key !== undefined && { key }) } });
    return true;
  }

  /** A page of the log. Waits for a connection; rejects with `timeout` if no answer arrives in time. */
  async history(options: HistoryOptions = {}): Promise<HistoryPage<Data>> {
    checkOptions("history", options, ["after", "before", "limit", "reverse"]);
    if (this.#isOver()) throw this.#over();
    const { epoch, events, more } = await this.#reads.read("history", options);
    return { epoch, events: events as RoomEvent<Data>[], more };
  }

  /**
   * Replaces the presence of this member; null takes the member out of the roster. The client sends it again after each
   * reconnect. Resolves when the server has accepted this presence or a later one; waits if there is no connection.
   * Rejects with `presence_too_large`, and with `roster_full`: then the client tries again until there is a place.
   */
  presence(data: Presence | null): Promise<void> {
    return this.#isOver() ? Promise.reject(this.#over()) : this.#presence.set(data);
  }

  /** A page of the current roster, independent of `watch`. Waits and rejects as `history` does. */
  async readRoster(options: RosterOptions = {}): Promise<RosterPage<Presence>> {
    checkOptions("readRoster", options, ["after", "limit"]);
    if (this.#isOver()) throw this.#over();
    const { version, members: count, users, present, more } = await this.#reads.read("presence.get", options);
    return { version, count, users, members: present as RosterMember<Presence>[], more };
  }

  /** The numbers of members and users in the roster now. Waits and rejects as `history` does. */
  async count(): Promise<{ readonly members: number; readonly users: number }> {
    const { count: members, users } = await this.readRoster({ limit: 0 });
    return { members, users };
  }

  /**
   * Leaves the room. If the application joined it several times, only the last `leave` has an effect. Publishes that
   * were not sent reject with `left`; those that were sent still receive their answer. Resolves when no further message
   * of the room is delivered. Without a connection, the server is told after the next reconnect.
   */
  leave(): Promise<void> {
    if (this.#isOver()) return this.#left;
    this.#joins -= 1;
    if (this.#joins > 0) return Promise.resolve();
    this.#abandonedPresence = this.#presence.listed;
    this.context.leaving(this);
    this.#end("left");
    if (this.#object !== null) this.#sendLeave(this.#object);
    else if (!this.#joining) this.#leftOffline();
    return this.#left;
  }

  /** The application joined the room once more. Throws `bad_request` for a `from` that differs. @internal */
  joinAgain(options: JoinOptions<Presence>): void {
    const { from, presence } = options;
    if (from !== undefined && !isEqual(from, this.#from)) {
      const other = JSON.stringify(this.#from);
      throw new DormouseError("bad_request", `${this.name} is already joined with from: ${other}; use the same value, or read older events with history()`);
    }
    const payload = this.#presence.check(presence ?? null);
    this.#joins += 1;
    if (this.#rosterSubscription.extend(watchOf(options))) {
      if (this.#object !== null) this.#rejoin(this.#object);
      else this.#isJoinOutdated = this.#joining;
    }
    if (payload !== null) this.#presence.replace(payload);
  }

  /** The client is connected. @internal */
  connected(): void {
    this.#attempt = 0;
    if (this.#object === null && !this.#joining) this.#join();
  }

  /** The connection is lost. @internal */
  disconnected(): void {
    clearTimeout(this.#retry);
    this.#object = null;
    this.#joining = false;
    this.#publisher.disconnected();
    this.#reads.disconnected();
    this.#presence.disconnected();
    this.#rosterSubscription.disconnected();
    if (this.#isOver()) this.#leftOffline();
    else this.#setState("joining");
  }

  /** There is no connection until the application asks for one. @internal */
  giveUp(error: DormouseError): void {
    this.#abandon(error);
    if (this.#isOver()) this.#close();
  }

  /** The server accepts more publishes. @internal */
  pump(): void {
    this.#publisher.pump();
  }

  /** A message for this room. @internal */
  received(message: ServerMessage): void {
    if (this.#object === null || this.#isOver()) return;
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
      case "removed":
        this.#object = null;
        this.#end("failed", refusal({ ...message.body, id: null }));
        return this.#close();
    }
  }

  #join(): void {
    this.#joining = true;
    this.#isJoinOutdated = false;
    try {
      this.context.request("join", this.#joinBody(), {
        ok: (reply) => this.#joined(reply),
        refused: (error) => this.#joinRefused(error),
      });
    } catch (error) {
      this.#joinRefused(error as DormouseError);
    }
  }

  #joinBody(): RequestBody<"join"> {
    const membership = { object: this.name, ...(this.#member !== undefined && { member: this.#member }) };
    // Only a connection that holds the place in the roster can give it up.
    if (this.#isOver()) return { ...membership, from: "now", presence: this.#abandonedPresence, watch: "none" };
    const from: From = this.#position ? { after: this.#position } : this.#from;
    return { ...membership, from, presence: this.#presence.joining(), watch: this.#rosterSubscription.joining() };
  }

  #joined({ object, epoch, head, from, resumed, member, reset }: ServerBodies["joined"]): void {
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
    if (this.#isJoinOutdated) return this.#rejoin(object);
    this.#reads.joined((type, body, handler) => this.context.request(type, { object, ...body } as RequestBody<typeof type>, handler));
    this.#publisher.joined({ object, epoch, head, from, isResumed: resumed });
  }

  #joinRefused(error: DormouseError): void {
    this.#joining = false;
    if (this.#isOver()) return this.#close();
    if (error.code === "roster_full" && this.#presence.withhold(error)) return this.#join();
    if (isRetryable(error.code)) {
      this.#retry = setTimeout(() => this.#join(), retryDelayMs(error, this.context.backoff, this.#attempt++));
      return;
    }
    this.#end("failed", error);
    this.#close();
  }

  /** The protocol fixes what a member receives of the roster at its join: leaves the object and continues it at once. */
  #rejoin(object: number): void {
    this.#object = null;
    this.#joining = true;
    this.#publisher.suspended();
    this.#reads.disconnected();
    this.#presence.disconnected();
    this.#rosterSubscription.disconnected();
    this.#setState("joining");
    this.#sendLeave(object);
  }

  #sendLeave(object: number): void {
    const done = (): void => (this.#isOver() ? this.#leftOnline() : this.#join());
    this.context.request("leave", { object }, { ok: done, refused: done });
  }

  /** The server has ended the membership. */
  #leftOnline(): void {
    this.#abandonedPresence = null;
    this.#publisher.whenAnswered(() => this.#close());
  }

  /** Without a connection nothing more is delivered, but the server may keep the member in the roster for a while. */
  #leftOffline(): void {
    if (this.#abandonedPresence === null) return this.#close();
    this.#abandon(this.#over());
    this.#resolveLeft();
  }

  #deliver(events: readonly RoomEvent[]): void {
    const object = this.#object;
    for (const event of events) {
      const { epoch, offset } = this.#position!;
      if (event.offset !== offset + 1) {
        return this.context.protocolError(`${this.name}: event ${event.offset} came after ${offset}`);
      }
      this.#position = { epoch, offset: event.offset };
      this.#publisher.received(event);
      this.emit("event", event as RoomEvent<Data>);
      // A listener may have left or disconnected: the events that it did not see count as not delivered.
      if (!this.#isMember(object)) return;
    }
  }

  #caughtUp(offset: number): void {
    const position = this.#position!;
    if (offset !== position.offset) {
      return this.context.protocolError(`${this.name}: caught_up names ${offset}, but the last event was ${position.offset}`);
    }
    this.#setState("live");
    this.emit("caught_up", position);
  }

  #reset(reason: ResetReason, position: Position): void {
    const object = this.#object;
    this.#position = position;
    this.#publisher.reset(position);
    this.emit("reset", { reason });
    if (this.#isMember(object)) this.#setState("catching_up");
  }

  /** Also false if a listener has changed the membership in the meantime. */
  #isMember(object: number | null): boolean {
    return object !== null && this.#object === object && !this.#isOver();
  }

  #isOver(): boolean {
    return this.#state === "left" || this.#state === "failed";
  }

  /** Why the room takes no more calls. */
  #over(): DormouseError {
    return this.#failure ?? new DormouseError("left", `${this.name} was left`);
  }

  #end(state: "left" | "failed", error = this.#over()): void {
    clearTimeout(this.#retry);
    if (state === "failed") this.#failure = error;
    this.#setState(state, error);
    this.#publisher.stop(error);
    this.#reads.abandon(error);
    this.#presence.disconnected();
    this.#presence.abandon(error);
    this.#rosterSubscription.disconnected();
  }

  #abandon(error: DormouseError): void {
    this.#publisher.abandon(error);
    this.#reads.abandon(error);
    this.#presence.abandon(error);
  }

  #close(): void {
    this.#abandon(this.#over());
    this.context.closed(this);
    this.#resolveLeft();
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
