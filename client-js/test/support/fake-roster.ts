import type { ClientBodies, RosterMember, ServerBodies, ServerMessage, WireWatch } from "../../src/messages.js";

/** A connection that receives the changes of a roster. */
export interface FakeSubscriber {
  readonly session: string;
  send(message: ServerMessage): void;
}

/** A membership. It keeps its number while its connection is lost, as in a grace period without end. */
interface Membership {
  readonly number: number;
  readonly user: string;
  connection: FakeSubscriber | null;
  watch: WireWatch;
}

type Delta = Pick<ServerBodies["presence"], "join" | "update" | "leave">;

/** The roster of one object. Every change makes a new version. */
export class FakeRoster {
  readonly members = new Map<number, RosterMember>();
  version = 100;
  pageSize = 500;
  /** A join with presence is refused. */
  isFull = false;
  #memberships: Membership[] = [];
  /** The last version that changed each member. */
  readonly #changed = new Map<number, number>();
  #lastNumber = 0;

  constructor(private readonly object: number) {}

  /** Returns the number of the membership; `greet` sends the first roster. */
  join({ presence, watch = "none", member }: ClientBodies["join"], connection: FakeSubscriber): number {
    let own = this.#memberships.find((it) => it.number === member && it.connection === null && it.user === connection.session);
    if (!own) this.#memberships.push((own = { number: ++this.#lastNumber, user: connection.session, connection, watch }));
    Object.assign(own, { connection: null, watch });
    this.say(own.number, own.user, presence ?? null);
    own.connection = connection;
    return own.number;
  }

  greet(connection: FakeSubscriber): void {
    const { watch } = this.#of(connection)!;
    const since = typeof watch === "object" ? watch.since : null;
    const roster = this.read({ id: 0, object: this.object, since });
    if (watch === "count") connection.send({ type: "roster", body: { ...roster, id: null, present: [], more: false } });
    else if (watch !== "none") connection.send({ type: "roster", body: { ...roster, id: null } });
  }

  set(connection: FakeSubscriber, data: unknown): void {
    const { number, user } = this.#of(connection)!;
    this.say(number, user, data);
  }

  /** For `leave`, or the end of the grace period. */
  leave(connection: FakeSubscriber): void {
    const own = this.#of(connection);
    if (!own) return;
    this.#memberships = this.#memberships.filter((it) => it !== own);
    this.say(own.number, own.user, null);
  }

  lost(connection: FakeSubscriber): void {
    const own = this.#of(connection);
    if (own) own.connection = null;
  }

  read({ id, since = null, after = null, limit = null }: ClientBodies["presence.get"]): ServerBodies["roster"] {
    const numbers = since === null ? [...this.members.keys()] : [...this.#changed].flatMap(([n, at]) => (at > since ? n : []));
    const inRange = numbers.filter((number) => number > (after ?? -1)).sort((a, b) => a - b);
    const page = inRange.slice(0, limit ?? this.pageSize);
    return {
      id,
      object: this.object,
      ...this.#counts(),
      since,
      present: page.flatMap((number) => this.members.get(number) ?? []),
      left: page.filter((number) => !this.members.has(number)),
      more: page.length < inRange.length,
    };
  }

  /** Sets the presence of a membership; null removes it. */
  say(member: number, user: string, data: unknown): void {
    const known = this.members.get(member);
    const isElsewhere = [...this.members.values()].some((other) => other.user === user && other.member !== member);
    const delta: Delta = { join: [], update: [], leave: [] };
    if (data === null) {
      if (!this.members.delete(member)) return;
      delta.leave.push({ member, user, last: !isElsewhere });
    } else {
      if (JSON.stringify(known?.data) === JSON.stringify(data)) return;
      this.members.set(member, { member, user, data });
      if (known) delta.update.push({ member, data });
      else delta.join.push({ member, user, data, first: !isElsewhere });
    }
    this.version++;
    this.#changed.set(member, this.version);
    for (const { connection, watch } of this.#memberships) {
      const told = watch === "count" ? { join: [], update: [], leave: [] } : delta;
      if (watch !== "none") connection?.send({ type: "presence", body: { object: this.object, ...this.#counts(), ...told } });
    }
  }

  #of(connection: FakeSubscriber): Membership | undefined {
    return this.#memberships.find((it) => it.connection === connection);
  }

  #counts(): { version: number; members: number; users: number } {
    const users = new Set([...this.members.values()].map(({ user }) => user)).size;
    return { version: this.version, members: this.members.size, users };
  }
}
