import { describe, expect, test } from "vitest";
import { isEqual } from "../../src/equal.js";
import type { RosterMember, ServerBodies } from "../../src/messages.js";
import { RosterState, type PresenceChange } from "../../src/roster.js";

type Whole = ServerBodies["roster"];
type Delta = ServerBodies["presence"];

const entry = (member: number, user = `u${member}`, data: unknown = member): RosterMember => ({ member, user, data });

function whole(version: number, present: RosterMember[], more: Partial<Whole> = {}): Whole {
  const users = new Set(present.map(({ user }) => user)).size;
  return { id: null, object: 1, version, members: present.length, users, since: null, present, left: [], more: false, ...more };
}

function delta(version: number, change: Partial<Delta> = {}): Delta {
  return { object: 1, version, members: 0, users: 0, join: [], update: [], leave: [], ...change };
}

const NOTHING = { joined: [], updated: [], left: [] };

describe("a roster", () => {
  test("is told at first, then changes by version", () => {
    const roster = new RosterState();
    expect([roster.version, roster.isComplete, roster.count]).toEqual([null, false, 0]);
    expect(roster.pushed(whole(7, [entry(1, "ann"), entry(2, "ann")]))).toEqual({
      ...NOTHING,
      joined: [
        { ...entry(1, "ann"), first: true },
        { ...entry(2, "ann"), first: false },
      ],
    });
    expect([roster.version, roster.isComplete, roster.count, roster.users]).toEqual([7, true, 2, 1]);
    const change = roster.changed(
      delta(8, {
        members: 2,
        users: 2,
        join: [{ ...entry(3, "bob"), first: true }],
        update: [{ member: 2, data: "new" }],
        leave: [{ member: 1, user: "ann", last: false }],
      }),
    );
    expect(change).toEqual({
      joined: [{ ...entry(3, "bob"), first: true }],
      updated: [entry(2, "ann", "new")],
      left: [{ ...entry(1, "ann"), last: false }],
    });
    expect([...roster.members.values()]).toEqual([entry(2, "ann", "new"), entry(3, "bob")]);
    expect([roster.version, roster.users]).toEqual([8, 2]);
  });

  test.each([7, 9, 6])("after version 7 does not take %d for the next one after 8, and wants a whole one then", (version) => {
    const roster = new RosterState();
    roster.pushed(whole(7, [entry(1)]));
    roster.changed(delta(8));
    if (version === 9) expect(roster.changed(delta(9))).toEqual(NOTHING);
    expect(roster.changed(delta(version))).toBeNull();
    expect(roster.isComplete).toBe(false);
  });

  test("does not take changes before there is a roster, nor since a version that it has not reached", () => {
    const roster = new RosterState();
    expect(roster.changed(delta(1))).toBeNull();
    roster.pushed(whole(7, []));
    expect(roster.pushed(whole(9, [], { since: 8 }))).toBeNull();
  });

  test("that is replaced by an equal one has not changed", () => {
    const roster = new RosterState();
    const data = { name: "Ann", at: [1, { x: null }], bytes: new Uint8Array([1, 2]) };
    roster.pushed(whole(7, [entry(1, "ann", data), entry(2)]));
    const copy = structuredClone({ at: data.at, bytes: data.bytes, name: data.name });
    expect(roster.pushed(whole(9, [entry(1, "ann", copy), entry(2)]))).toEqual(NOTHING);
    expect(roster.version).toBe(9);
  });

  test("that is replaced tells what differs, with first and last by the users before and after", () => {
    const roster = new RosterState();
    roster.pushed(whole(7, [entry(1, "ann"), entry(2, "bob"), entry(3, "eve")]));
    const change = roster.pushed(whole(9, [entry(3, "eve", "new"), entry(4, "ann"), entry(5, "dan")]));
    expect(change).toEqual({
      joined: [
        { ...entry(4, "ann"), first: false },
        { ...entry(5, "dan"), first: true },
      ],
      updated: [entry(3, "eve", "new")],
      left: [
        { ...entry(1, "ann"), last: false },
        { ...entry(2, "bob"), last: true },
      ],
    });
  });

  test("that loses several members of a user at once marks one of them as the last", () => {
    const roster = new RosterState();
    roster.pushed(whole(7, [entry(1, "ann"), entry(2, "ann")]));
    expect(roster.pushed(whole(8, []))!.left.map(({ last }) => last)).toEqual([false, true]);
  });

  test("with the numbers of another server is another roster", () => {
    const roster = new RosterState();
    roster.pushed(whole(7, [entry(1, "ann")]));
    expect(roster.pushed(whole(1, [entry(1, "bob")]))).toEqual({
      joined: [{ ...entry(1, "bob"), first: true }],
      updated: [],
      left: [{ ...entry(1, "ann"), last: true }],
    });
  });

  test("leads on from a version", () => {
    const roster = new RosterState();
    roster.pushed(whole(7, [entry(1), entry(2), entry(3)]));
    const change = roster.pushed(whole(12, [entry(2, "u2", "new"), entry(4)], { since: 7, left: [1, 99], members: 3, users: 3 }));
    expect(change).toEqual({
      joined: [{ ...entry(4), first: true }],
      updated: [entry(2, "u2", "new")],
      left: [{ ...entry(1), last: true }],
    });
    expect([...roster.members.keys()]).toEqual([2, 3, 4]);
    expect([roster.version, roster.count]).toEqual([12, 3]);
  });
});

describe("a roster of several pages", () => {
  test("is complete after the last one", () => {
    const roster = new RosterState();
    roster.pushed(whole(7, [entry(1), entry(2)], { more: true, members: 3 }));
    expect([roster.isComplete, roster.nextPage]).toEqual([false, { after: 2 }]);
    expect(roster.read(whole(7, [entry(3)])).joined).toEqual([{ ...entry(3), first: true }]);
    expect([roster.isComplete, roster.nextPage]).toEqual([true, null]);
  });

  test("an older page does not bring back who went, or what was said before", () => {
    const roster = new RosterState();
    roster.pushed(whole(7, [entry(1)], { more: true }));
    roster.changed(delta(8, { leave: [{ member: 2, user: "u2", last: true }], update: [{ member: 3, data: "new" }] }));
    roster.changed(delta(9, { join: [{ ...entry(5, "u5", "newest"), first: true }] }));
    roster.read(whole(7, [entry(2), entry(3), entry(4)]));
    expect([...roster.members.values()]).toEqual([entry(1), entry(5, "u5", "newest"), entry(3, "u3", "new"), entry(4)]);
  });

  test("a newer page is followed by the changes that lead up to it", () => {
    const roster = new RosterState();
    roster.pushed(whole(7, [entry(1)], { more: true }));
    roster.read(whole(9, [entry(3, "u3", "new"), entry(4)]));
    expect(roster.changed(delta(8, { leave: [{ member: 2, user: "u2", last: true }], update: [{ member: 3, data: "new" }] }))).toEqual(NOTHING);
    expect(roster.changed(delta(9, { join: [{ ...entry(4), first: true }] }))).toEqual(NOTHING);
    expect([...roster.members.keys()]).toEqual([1, 3, 4]);
  });

  test("that replaces another keeps what is not read yet", () => {
    const roster = new RosterState();
    roster.pushed(whole(7, [entry(1), entry(2), entry(3), entry(4)]));
    expect(roster.pushed(whole(9, [entry(2)], { more: true }))!.left).toEqual([{ ...entry(1), last: true }]);
    expect(roster.members.size).toBe(3);
    expect(roster.read(whole(9, [entry(4)])).left).toEqual([{ ...entry(3), last: true }]);
    expect([...roster.members.keys()]).toEqual([2, 4]);
  });

  test("ends where a page leads nowhere", () => {
    const roster = new RosterState();
    roster.pushed(whole(7, [entry(1)], { more: true }));
    roster.read(whole(7, [], { more: true }));
    expect([roster.nextPage, roster.isComplete]).toEqual([null, false]);
  });

  test("is not complete after an interruption", () => {
    const roster = new RosterState();
    roster.pushed(whole(7, [entry(1)], { more: true }));
    roster.interrupted();
    expect([roster.nextPage, roster.isComplete]).toEqual([null, false]);
  });
});

/** A random generator that gives the same numbers for the same seed. */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    return ((state ^ (state >>> 13)) >>> 0) % below;
  };
}

/** The roster of a server: all its versions and the changes between them. */
class Model {
  readonly versions: Map<number, RosterMember>[] = [new Map()];
  readonly deltas: Delta[] = [];
  #lastNumber = 0;

  constructor(private readonly random: (below: number) => number) {}

  get version(): number {
    return this.versions.length - 1;
  }

  at(version: number): Map<number, RosterMember> {
    return this.versions[version]!;
  }

  /** Makes the next version, with up to three changes. */
  change(): void {
    const before = this.at(this.version);
    const after = new Map(before);
    for (let n = 1 + this.random(3); n > 0; n--) {
      const what = this.random(4);
      const known = [...before.keys()];
      const member = known[this.random(known.length)];
      if (what < 2 || member === undefined) this.#put(after, ++this.#lastNumber);
      else if (what === 2) after.delete(member);
      else if (after.has(member)) after.set(member, { ...after.get(member)!, data: this.random(3) });
    }
    // A member that left the roster may return with the same number.
    const gone = this.random(this.#lastNumber) + 1;
    if (!before.has(gone) && !after.has(gone) && this.random(4) === 0) this.#put(after, gone);
    this.versions.push(after);
    const [was, is] = [usersOf(before), usersOf(after)];
    this.deltas.push(
      delta(this.version, {
        members: after.size,
        users: is.size,
        join: oneOfEach(was, [...after.values()].filter(({ member }) => !before.has(member))).map(([it, first]) => ({ ...it, first })),
        update: [...after.values()].filter(({ member, data }) => before.has(member) && before.get(member)!.data !== data),
        leave: oneOfEach(is, [...before.values()].filter(({ member }) => !after.has(member))).map(([it, last]) => ({ ...it, last })),
      }),
    );
  }

  page(version: number, limit: number, { since = null, after = -1 }: { since?: number | null; after?: number } = {}): Whole {
    const members = this.at(version);
    const of = (member: number): boolean => {
      if (since === null) return members.has(member);
      return !isEqual(this.at(since).get(member), members.get(member));
    };
    const numbers = Array.from({ length: this.#lastNumber }, (_, n) => n + 1).filter((n) => n > after && of(n));
    const told = numbers.slice(0, limit);
    const present = told.flatMap((n) => members.get(n) ?? []);
    const left = told.filter((n) => !members.has(n));
    return { ...whole(version, present), members: members.size, users: usersOf(members).size, since, left, more: numbers.length > limit };
  }

  #put(members: Map<number, RosterMember>, member: number): void {
    members.set(member, entry(member, `u${member % 5}`, this.random(3)));
  }
}

/** Marks one entry of each user that is not among `users`. */
function oneOfEach(users: ReadonlySet<string>, entries: readonly RosterMember[]): [RosterMember, boolean][] {
  const known = new Set(users);
  return entries.map((it) => {
    const isNew = !known.has(it.user);
    known.add(it.user);
    return [it, isNew];
  });
}

const usersOf = (members: ReadonlyMap<number, RosterMember>): Set<string> => new Set([...members.values()].map(({ user }) => user));

/** Applies the reported changes, and fails at one that is impossible. */
class Shadow {
  readonly members = new Map<number, RosterMember>();

  take({ joined, updated, left }: PresenceChange): void {
    const before = usersOf(this.members);
    for (const { user, first } of joined) {
      if (!first) continue;
      expect(before).not.toContain(user);
      before.add(user);
    }
    for (const { last: _, ...member } of left) {
      expect(this.members.get(member.member)).toEqual(member);
      this.members.delete(member.member);
    }
    for (const { first: _, ...member } of joined) {
      expect(this.members.has(member.member)).toBe(false);
      this.members.set(member.member, member);
    }
    for (const member of updated) {
      expect(this.members.get(member.member)).toMatchObject({ user: member.user });
      expect(this.members.get(member.member)!.data).not.toEqual(member.data);
      this.members.set(member.member, member);
    }
    const users = usersOf(this.members);
    for (const { user, last } of left) {
      if (!last) continue;
      expect(users).not.toContain(user);
      users.add(user);
    }
  }
}

const sorted = (members: ReadonlyMap<number, RosterMember>): RosterMember[] => [...members.values()].sort((a, b) => a.member - b.member);

describe("whatever comes when", () => {
  test.each(Array.from({ length: 200 }, (_, n) => n + 1))("the roster becomes that of the server, and its changes lead there (seed %d)", (seed) => {
    const random = seeded(seed);
    const model = new Model(random);
    const roster = new RosterState();
    const shadow = new Shadow();
    const take = (change: PresenceChange | null): void => {
      expect(change).not.toBeNull();
      shadow.take(change!);
      expect(sorted(shadow.members)).toEqual(sorted(roster.members));
    };
    /** Pages that the server has read and the client has not received. */
    let underWay: { readonly nextPage: typeof roster.nextPage; readonly page: Whole } | null = null;
    const limit = () => 1 + random(4);
    const begin = (since: number | null): void => {
      underWay = null;
      take(roster.pushed(model.page(model.version, limit(), { since })));
    };
    const deliver = (): void => take(roster.changed(model.deltas[roster.version!]!));
    const ask = (): void => {
      const { nextPage } = roster;
      if (nextPage && underWay?.nextPage !== nextPage) underWay = { nextPage, page: model.page(model.version, limit(), nextPage) };
    };
    const answer = (): void => {
      if (underWay?.nextPage && underWay.nextPage === roster.nextPage) take(roster.read(underWay.page));
    };

    for (let n = 0; n < 8; n++) model.change();
    begin(null);
    for (let n = 0; n < 300; n++) {
      const what = random(20);
      if (what < 6) model.change();
      else if (what < 12) {
        if (roster.version! < model.version) deliver();
      } else if (what < 15) ask();
      else if (what < 18) answer();
      else if (what === 18) begin(null);
      else if (roster.isComplete) begin(roster.version);
    }
    while (roster.version! < model.version) deliver();
    while (roster.nextPage) {
      ask();
      answer();
    }
    expect(roster.isComplete).toBe(true);
    expect(sorted(roster.members)).toEqual(sorted(model.at(model.version)));
    expect([roster.count, roster.users]).toEqual([roster.members.size, usersOf(roster.members).size]);
  });
});
