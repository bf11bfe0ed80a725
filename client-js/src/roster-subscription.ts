import { isRetryable, retryDelayMs } from "./errors.js";
import type { ServerBodies, WireWatch } from "./messages.js";
import type { RoomContext } from "./room-context.js";
import { RosterState, type NextPage, type PresenceChange } from "./roster.js";

/**
 * What a room receives of the roster: nothing, only the counts, or the members and every change. Use the counts in
 * rooms where a list of all members is of no use.
 */
export type Watch = "none" | "count" | "roster";

/** In ascending order of what they deliver. */
export const WATCHES: readonly Watch[] = ["none", "count", "roster"];

/** The part of the room that a subscription calls. */
export interface RosterSubscriptionOwner {
  presenceChanged(change: PresenceChange): void;
  rosterChanged(): void;
  protocolError(message: string): void;
}

/** Keeps the roster of one room current: asks for it, for what a reconnect missed, and for the pages of a large roster. */
export class RosterSubscription {
  readonly roster = new RosterState();
  /** Null while not a member. */
  #object: number | null = null;
  /** The page that was asked for last. */
  #asked: NextPage | null = null;
  #attempt = 0;
  #pause: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly context: RoomContext<never>,
    private watch: Watch,
    private readonly owner: RosterSubscriptionOwner,
  ) {}

  /** Delivers at least what `watch` asks for, from the next join on. False if that is the case already. */
  extend(watch: Watch): boolean {
    if (WATCHES.indexOf(watch) <= WATCHES.indexOf(this.watch)) return false;
    this.watch = watch;
    return true;
  }

  /** What a join asks for. */
  joining(): WireWatch {
    const { isComplete, version } = this.roster;
    return this.watch === "roster" && isComplete && version !== null ? { since: version } : this.watch;
  }

  /** The room is joined under this number. */
  joined(object: number): void {
    this.#object = object;
  }

  /** The membership has ended. */
  disconnected(): void {
    this.#object = null;
    clearTimeout(this.#pause);
    this.roster.interrupted();
  }

  received(roster: ServerBodies["roster"]): void {
    // With an id it is the reply to an earlier request that is no longer needed.
    if (roster.id === null) this.#step(() => this.roster.pushed(roster), roster);
  }

  changed(change: ServerBodies["presence"]): void {
    this.#step(() => this.roster.changed(change), change);
  }

  #step(apply: () => PresenceChange | null, counts: Parameters<RosterState["counted"]>[0]): void {
    const { version, count, users } = this.roster;
    if (this.watch !== "roster") this.roster.counted(counts);
    else {
      const change = apply();
      if (!change) return this.owner.protocolError(`version ${counts.version} of the roster came after version ${version ?? "none"}`);
      this.#readOn();
      this.#emit(change);
    }
    if (this.roster.version !== version || this.roster.count !== count || this.roster.users !== users) this.owner.rosterChanged();
  }

  #emit(change: PresenceChange): void {
    if (change.joined.length + change.updated.length + change.left.length > 0) this.owner.presenceChanged(change);
  }

  /** Asks for the next page, if there is one that was not asked for yet. */
  #readOn(): void {
    const { nextPage } = this.roster;
    if (nextPage === null || nextPage === this.#asked) return;
    this.#asked = nextPage;
    clearTimeout(this.#pause);
    this.#ask(nextPage);
  }

  #ask(nextPage: NextPage): void {
    if (this.#object === null) return;
    this.context.request("presence.get", { object: this.#object, ...nextPage }, {
      ok: (page) => {
        // A whole roster may have arrived in the meantime.
        if (this.roster.nextPage !== nextPage) return;
        this.#attempt = 0;
        const change = this.roster.read(page);
        this.#readOn();
        this.#emit(change);
      },
      refused: (error) => {
        if (this.roster.nextPage !== nextPage) return;
        if (!isRetryable(error.code)) return this.roster.interrupted();
        this.#pause = setTimeout(() => this.#ask(nextPage), retryDelayMs(error, this.context.backoff, this.#attempt++));
      },
    });
  }
}
