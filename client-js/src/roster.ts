import { isEqual } from "./equal.js";
import type { Arrival, Departure, RosterMember, ServerBodies } from "./messages.js";

/** Who is in a room, kept current while this member watches. */
export interface Roster<Presence = unknown> {
  /** By the numbers of their memberships. Empty where only the counts are watched. */
  readonly members: ReadonlyMap<number, RosterMember<Presence>>;
  /** How many members the whole roster has. */
  readonly count: number;
  /** How many users they are. */
  readonly users: number;
  /** It only grows; null before the first roster came. */
  readonly version: number | null;
  /** `members` has everybody: a large roster comes in pages. */
  readonly isComplete: boolean;
}

/** What has changed in a roster. */
export interface PresenceChange<Presence = unknown> {
  readonly joined: readonly Arrival<Presence>[];
  /** Who says something else of itself. */
  readonly updated: readonly RosterMember<Presence>[];
  readonly left: readonly Departure<Presence>[];
}

/** Members that are still to be read. */
export interface NextPage {
  readonly after: number;
}

/** What a version changed in a member, while pages of older versions may still come. */
interface Touch {
  readonly version: number;
  /** What it says since, where the member itself is still to come. */
  readonly data?: unknown;
}

type Member = RosterMember<never>;
type Page = Pick<ServerBodies["roster"], "version" | "since" | "present" | "left" | "more">;

/** More than any server's roster should have; a longer one stays incomplete. */
const MAX_MEMBERS = 50_000;

/**
 * Puts a roster together: the first message, further pages, and the changes of each version. Pure.
 *
 * A page may be older or newer than the changes around it. An older one says nothing of members that were changed or
 * removed since; a newer one is followed by the changes that lead up to it, which do no harm when they come again.
 */
export class RosterState implements Roster<never> {
  readonly #members = new Map<number, Member>();
  /** How many members each user has. */
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

  /** The page to ask for next; another object after each step. */
  get nextPage(): NextPage | null {
    return this.#nextPage;
  }

  /** Only counts are told. */
  counted({ version, members, users }: Pick<ServerBodies["roster"], "version" | "members" | "users">): void {
    this.#version = version;
    this.#count = members;
    this.#users = users;
  }

  /** The roster that a member is told unasked: takes the place of this one, or leads on from it. Null where it does not. */
  begun(roster: ServerBodies["roster"]): PresenceChange | null {
    if (roster.since !== null && !(this.#version !== null && roster.since <= this.#version)) {
      this.doubted();
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

  /** The next version. Null where another one was due. */
  changed(change: ServerBodies["presence"]): PresenceChange | null {
    if (this.#version === null || change.version !== this.#version + 1) {
      this.doubted();
      return null;
    }
    this.counted(change);
    const { version } = change;
    const [joined, updated, left]: [Arrival[], RosterMember[], Departure[]] = [[], [], []];
    // The server also knows the users of pages that are to come, and this roster those of pages that were newer.
    const before = this.#hereOf(change.join);
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
    const after = this.#hereOf(left);
    return { joined, updated, left: left.map((it) => ({ ...it, last: it.last && !after.has(it.user) })) };
  }

  /** The connection is gone: pages of it will not come any more. */
  interrupted(): void {
    this.#nextPage = null;
    this.#touched.clear();
  }

  /** What the server told did not fit: the next roster must be a whole one. */
  doubted(): void {
    this.interrupted();
    this.#isComplete = false;
  }

  /** Takes over the members after `after` and up to the page's last; without `more` all after it. */
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
        // Changed since: known already, gone, or only its new data is known.
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

  /** `first` and `last` compare the users before with those after. */
  #exchange(changes: readonly [RosterMember, RosterMember | undefined][], gone: readonly number[]): PresenceChange {
    const before = this.#hereOf(changes.map(([entry]) => entry));
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
    const after = this.#hereOf(removed);
    const left = removed.reverse().map((entry) => {
      const last = !after.has(entry.user);
      after.add(entry.user);
      return { ...entry, last };
    });
    return { joined, updated, left: left.reverse() };
  }

  /** The users among these who are here at the moment. */
  #hereOf(entries: readonly { readonly user: string }[]): Set<string> {
    return new Set(entries.flatMap(({ user }) => (this.#perUser.has(user) ? user : [])));
  }

  #touch(member: number, touch: Touch): void {
    if (this.#nextPage) this.#touched.set(member, touch);
  }

  /** Who is known already keeps its place in the map. */
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
