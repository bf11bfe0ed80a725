import { isEqual } from "./equal.js";
import type { Arrival, Departure, RosterMember, ServerBodies } from "./messages.js";

/** The members of a room that have a presence. It is kept current as far as `watch` asks for it. */
export interface Roster<Presence = unknown> {
  /** The members by their numbers. Empty if only the counts are watched. */
  readonly members: ReadonlyMap<number, RosterMember<Presence>>;
  /** The number of members in the whole roster. */
  readonly count: number;
  /** The number of users in the whole roster. */
  readonly users: number;
  /** The version of the roster. It only increases; null before the first roster arrived. */
  readonly version: number | null;
  /** `members` has every member. A large roster arrives in pages. */
  readonly isComplete: boolean;
}

/** The difference between two states of a roster. */
export interface PresenceChange<Presence = unknown> {
  readonly joined: readonly Arrival<Presence>[];
  /** The members whose presence changed. */
  readonly updated: readonly RosterMember<Presence>[];
  readonly left: readonly Departure<Presence>[];
}

/** The page that must be read next. */
export interface NextPage {
  readonly after: number;
}

/** The last version that changed a member. It is kept while pages of older versions may arrive. */
interface Touch {
  readonly version: number;
  /** The new presence, if the member itself has not arrived yet. */
  readonly data?: unknown;
}

type Member = RosterMember<never>;
type Page = Pick<ServerBodies["roster"], "version" | "since" | "present" | "left" | "more">;

/** A roster with more members stays incomplete. This bounds the memory of the client. */
const MAX_MEMBERS = 50_000;

/**
 * Builds a roster from its first message, further pages, and the changes of each version. Pure.
 *
 * A page may be older or newer than the changes that arrive around it. An older page is ignored for members that were
 * changed or removed since. A newer page is followed by changes that it already contains; they have no effect.
 */
export class RosterState implements Roster<never> {
  readonly #members = new Map<number, Member>();
  /** The number of members of each user. */
  readonly #perUser = new Map<string, number>();
  readonly #touched = new Map<number, Touch>();
  #count = 0;
  #users = 0;
  #version: number | null = null;
  #isComplete = false;
  #nextPage: NextPage | null = null;

  get members(): ReadonlyMap<number, Member> {
    return this.#members;
  }

  get count(): number {
    return this.#count;
  }

  get users(): number {
    return this.#users;
  }

  get version(): number | null {
    return this.#version;
  }

  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** The page to ask for next. It is a new object after each step. */
  get nextPage(): NextPage | null {
    return this.#nextPage;
  }

  /** New counts, without members. */
  counted({ version, members, users }: Pick<ServerBodies["roster"], "version" | "members" | "users">): void {
    this.#version = version;
    this.#count = members;
    this.#users = users;
  }

  /** A roster that no request asked for. It replaces this one or continues it. Returns null if it does not fit. */
  pushed(roster: ServerBodies["roster"]): PresenceChange | null {
    if (roster.since !== null && !(this.#version !== null && roster.since <= this.#version)) {
      this.invalidated();
      return null;
    }
    this.counted(roster);
    this.#touched.clear();
    return this.#apply(roster, -1);
  }

  /** The page that `nextPage` asked for. */
  read(page: Page): PresenceChange {
    return this.#apply(page, this.#nextPage?.after ?? -1);
  }

  /** The changes of the next version. Returns null if a version is missing. */
  changed(change: ServerBodies["presence"]): PresenceChange | null {
    if (this.#version === null || change.version !== this.#version + 1) {
      this.invalidated();
      return null;
    }
    this.counted(change);
    const { version } = change;
    const [joined, updated, left]: [Arrival[], RosterMember[], Departure[]] = [[], [], []];
    // The server also knows the users of pages that did not arrive yet; this roster also knows those of newer pages.
    const before = this.#presentUsersOf(change.join);
    for (const { member, last } of change.leave) {
      this.#touch(member, { version });
      const known = this.#remove(member);
      if (known) left.push({ ...known, last });
    }
    for (const { first, ...entry } of change.join) {
      this.#touch(entry.member, { version });
      const known = this.#members.get(entry.member);
      this.#set(entry);
      if (!known) joined.push({ ...entry, first: first && !before.has(entry.user) });
      else if (!isEqual(known.data, entry.data)) updated.push(entry);
    }
    for (const { member, data } of change.update) {
      this.#touch(member, { version, data });
      const known = this.#members.get(member);
      if (!known || isEqual(known.data, data)) continue;
      const entry = { ...known, data };
      this.#set(entry);
      updated.push(entry);
    }
    const after = this.#presentUsersOf(left);
    return { joined, updated, left: left.map((it) => ({ ...it, last: it.last && !after.has(it.user) })) };
  }

  /** The connection is lost: no further page of it arrives. */
  interrupted(): void {
    this.#nextPage = null;
    this.#touched.clear();
  }

  /** A message did not fit: the next roster must be a whole one. */
  invalidated(): void {
    this.interrupted();
    this.#isComplete = false;
  }

  /** Takes the members after `after` up to the last one of the page, or all after `after` if `more` is false. */
  #apply(page: Page, after: number): PresenceChange {
    const upTo = page.more ? (page.present.at(-1)?.member ?? after) : Infinity;
    const entries = new Map(page.present.map((entry) => [entry.member, entry]));
    const isNews = (member: number): boolean => (this.#touched.get(member)?.version ?? -1) <= page.version;
    const gone =
      page.since === null
        ? [...this.#members.keys()].filter((member) => member > after && member <= upTo && !entries.has(member))
        : page.left;

    const changes: [RosterMember, RosterMember | undefined][] = [];
    for (const entry of entries.values()) {
      const known = this.#members.get(entry.member);
      if (isNews(entry.member)) changes.push([entry, known]);
      else {
        // A later version changed this member. It is already known, or removed, or only its new data is known.
        const { data } = this.#touched.get(entry.member)!;
        if (!known && data !== undefined) changes.push([{ ...entry, data }, known]);
      }
    }
    const change = this.#exchange(changes, gone.filter(isNews));

    const isStuck = page.more && upTo <= after;
    this.#isComplete = !page.more;
    this.#nextPage = page.more && !isStuck && this.#members.size < MAX_MEMBERS ? { after: upTo } : null;
    if (!this.#nextPage) this.#touched.clear();
    return change;
  }

  /** `first` and `last` compare the users before the exchange with those after it. */
  #exchange(changes: readonly [RosterMember, RosterMember | undefined][], gone: readonly number[]): PresenceChange {
    const before = this.#presentUsersOf(changes.map(([entry]) => entry));
    const joined: Arrival[] = [];
    const updated: RosterMember[] = [];
    const removed: RosterMember[] = [];
    for (const [entry, known] of changes) {
      if (known && known.user !== entry.user) removed.push(known);
      if (!known || known.user !== entry.user) {
        joined.push({ ...entry, first: !before.has(entry.user) });
        before.add(entry.user);
      } else if (!isEqual(known.data, entry.data)) updated.push(entry);
    }
    for (const member of gone) {
      const known = this.#remove(member);
      if (known) removed.push(known);
    }
    for (const [entry] of changes) this.#set(entry);
    const after = this.#presentUsersOf(removed);
    const left = removed.reverse().map((entry) => {
      const last = !after.has(entry.user);
      after.add(entry.user);
      return { ...entry, last };
    });
    return { joined, updated, left: left.reverse() };
  }

  /** Those users of `entries` that have a membership at the moment. */
  #presentUsersOf(entries: readonly { readonly user: string }[]): Set<string> {
    return new Set(entries.flatMap(({ user }) => (this.#perUser.has(user) ? user : [])));
  }

  #touch(member: number, touch: Touch): void {
    if (this.#nextPage) this.#touched.set(member, touch);
  }

  /** A member that is already known keeps its place in the map. */
  #set(entry: RosterMember): void {
    const known = this.#members.get(entry.member);
    if (known && known.user !== entry.user) this.#remove(entry.member);
    if (known?.user !== entry.user) this.#perUser.set(entry.user, (this.#perUser.get(entry.user) ?? 0) + 1);
    this.#members.set(entry.member, entry as Member);
  }

  #remove(member: number): RosterMember | undefined {
    const known = this.#members.get(member);
    if (!known) return undefined;
    this.#members.delete(member);
    const others = this.#perUser.get(known.user)! - 1;
    if (others === 0) this.#perUser.delete(known.user);
    else this.#perUser.set(known.user, others);
    return known;
  }
}
