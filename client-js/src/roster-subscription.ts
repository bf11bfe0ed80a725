import { backoffMs } from "./backoff.js";
import { isRetryable } from "./errors.js";
import type { RoomContext } from "./room-context.js";
import type { ServerBodies, WireWatch } from "./messages.js";
import { RosterState, type PresenceChange, type Reading } from "./roster.js";

/**
 * What to be told of the others: nothing, how many they are, or who they are and every change of it. Count in rooms
 * where a list of everybody is of no use.
 */
export type Watch = "none" | "count" | "roster";

/** Who is told what a watcher sees. */
export interface RosterSubscriptionOwner {
  presenceChanged(change: PresenceChange): void;
  rosterChanged(): void;
  broken(message: string): void;
}

/** Keeps the roster of one room: asks for it, for what a reconnect missed, and for the pages of a large one. */
export class RosterSubscription {
  readonly roster = new RosterState();
  /** Null while not a member. */
  #object: number | null = null;
  /** The page that was asked for last. */
  #asked: Reading | null = null;
  #attempt = 0;
  #pause: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly context: RoomContext<never>,
    private readonly watch: Watch,
    private readonly owner: RosterSubscriptionOwner,
  ) {}

  /** What a join asks for. */
  joining(): WireWatch {
    const { isComplete, version } = this.roster;
    return this.watch === "roster" && isComplete && version !== null ? { since: version } : this.watch;
  }

  /** The room is joined under this number. */
  joined(object: number): void {
    this.#object = object;
  }

  /** The connection is gone, or the room was left. */
  paused(): void {
    this.#object = null;
    clearTimeout(this.#pause);
    this.roster.interrupted();
  }

  received(roster: ServerBodies["roster"]): void {
    // The reply to a request of before, which nobody waits for any more.
    if (roster.id === null) this.#step(() => this.roster.begun(roster), roster);
  }

  changed(change: ServerBodies["presence"]): void {
    this.#step(() => this.roster.changed(change), change);
  }

  #step(apply: () => PresenceChange | null, counts: Parameters<RosterState["counted"]>[0]): void {
    const { version, count, users } = this.roster;
    if (this.watch !== "roster") this.roster.counted(counts);
    else {
      const change = apply();
      if (!change) return this.owner.broken(`version ${counts.version} of the roster came after ${version ?? "none"}`);
      this.#readOn();
      this.#tell(change);
    }
    if (this.roster.version !== version || this.roster.count !== count || this.roster.users !== users) this.owner.rosterChanged();
  }

  #tell(change: PresenceChange): void {
    if (change.joined.length + change.updated.length + change.left.length > 0) this.owner.presenceChanged(change);
  }

  /** Asks for the next page, if there is one and it was not asked for yet. */
  #readOn(): void {
    const { reading } = this.roster;
    if (reading === null || reading === this.#asked) return;
    this.#asked = reading;
    clearTimeout(this.#pause);
    this.#ask(reading);
  }

  #ask(reading: Reading): void {
    if (this.#object === null) return;
    this.context.request("presence.get", { object: this.#object, ...reading }, {
      ok: (page) => {
        // A whole roster may have come meanwhile.
        if (this.roster.reading !== reading) return;
        this.#attempt = 0;
        const change = this.roster.read(page);
        this.#readOn();
        this.#tell(change);
      },
      refused: ({ code }) => {
        if (this.roster.reading !== reading) return;
        if (!isRetryable(code)) return this.roster.interrupted();
        this.#pause = setTimeout(() => this.#ask(reading), backoffMs(this.context.backoff, this.#attempt++, Math.random()));
      },
    });
  }
}
