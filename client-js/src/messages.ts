import type { ServerErrorCode } from "./errors.js";

/** A position in an object's log. Offsets can be compared only within one epoch. */
export interface Position {
  readonly epoch: number;
  /** The offset of the last event that was received; 0 for none. */
  readonly offset: number;
}

/** Where a member starts to receive. */
export type From = "now" | "all" | { readonly last: number } | { readonly after: Position };

/** Why a position cannot be continued. */
export type ResetReason = "trimmed" | "other_epoch" | "ahead";

/** An entry of an object's log. */
export interface RoomEvent<Data = unknown> {
  /** The number of the event in the log, from 1, without holes. */
  readonly offset: number;
  /** Milliseconds since the Unix epoch; never less than that of the previous event. */
  readonly time: number;
  /** The id of the session that published the event. */
  readonly sender: string;
  readonly kind: string;
  readonly data: Data;
  /** The key of the publish. A session stores one event for each key. */
  readonly key?: string;
  /** The user of the publisher's token. Missing if the publisher had no token. */
  readonly user?: string;
}

/** A message to the present members that is not stored. */
export interface RoomSignal<Data = unknown> {
  /** The id of the session that sent the signal. */
  readonly sender: string;
  readonly data: Data;
  readonly key?: string;
}

/** The limits of one connection. */
export interface Limits {
  readonly message_bytes: number;
  readonly joins: number;
  readonly in_flight: number;
  readonly history_events: number;
  /** The largest presence of a member in MessagePack, in bytes. */
  readonly presence_bytes: number;
  /** The largest number of members in one page of a roster. */
  readonly roster_members: number;
}

/** An entry of an object's roster. */
export interface RosterMember<Presence = unknown> {
  /** The number of the membership. It is unique for the object and never used again. */
  readonly member: number;
  /** The session id of the member. One user may have several memberships, for example one for each tab. */
  readonly user: string;
  /** The presence of the member. */
  readonly data: Presence;
}

/** A member that joined. */
export interface Arrival<Presence = unknown> extends RosterMember<Presence> {
  /** The user had no other membership before. If several memberships of a user begin together, only one is the first. */
  readonly first: boolean;
}

/** A member that left, with its last presence. */
export interface Departure<Presence = unknown> extends RosterMember<Presence> {
  /** The user has no other membership left. If several memberships of a user end together, only one is the last. */
  readonly last: boolean;
}

/** What a member receives of the roster. */
export type WireWatch = "none" | "count" | "roster" | { readonly since: number };

/** The counts of one version of a roster. */
interface RosterCounts {
  object: number;
  version: number;
  members: number;
  users: number;
}

/** The bodies of the messages that a client sends. */
export interface ClientBodies {
  join: { id: number; object: string; from: From; presence?: unknown; watch?: WireWatch; member?: number };
  leave: { id: number; object: number };
  publish: { id: number; object: number; kind: string; data: unknown; key?: string; after?: number };
  signal: { id?: number | null; object: number; data: unknown; key?: string };
  history: {
    id: number;
    object: number;
    after?: number | null;
    before?: number | null;
    limit?: number | null;
    reverse?: boolean;
  };
  "presence.set": { id: number; object: number; data: unknown };
  "presence.get": { id: number; object: number; since?: number | null; after?: number | null; limit?: number | null };
  auth: { id: number; token: string };
  ping: { id: number };
}

/** The bodies of the messages that the server sends. */
export interface ServerBodies {
  welcome: { session: string; token: string; server: string; ping_interval_ms: number; limits: Limits };
  joined: {
    id: number;
    object: number;
    epoch: number;
    head: number;
    from: number;
    resumed: boolean;
    member: number;
    reset?: ResetReason;
  };
  events: { object: number; events: RoomEvent[] };
  caught_up: { object: number; offset: number };
  reset: { object: number; reason: ResetReason; epoch: number; from: number };
  published: { id: number; offset: number; time: number; duplicate: boolean };
  signals: { object: number; signals: RoomSignal[] };
  history: { id: number; epoch: number; more: boolean; events: RoomEvent[] };
  roster: RosterCounts & {
    id: number | null;
    since: number | null;
    present: RosterMember[];
    left: number[];
    more: boolean;
  };
  presence: RosterCounts & {
    join: Arrival[];
    update: Pick<RosterMember, "member" | "data">[];
    leave: Omit<Departure, "data">[];
  };
  done: { id: number };
  token_expiring: { expires_in_ms: number };
  removed: { object: number; code: ServerErrorCode; message: string };
  error: { id: number | null; code: ServerErrorCode; message: string; retry_after_ms?: number };
}

/** A message: a type and its body. On the wire it is a map with one entry. */
export type Message<Bodies> = { [Type in keyof Bodies]: { type: Type; body: Bodies[Type] } }[keyof Bodies];
export type ClientMessage = Message<ClientBodies>;
export type ServerMessage = Message<ServerBodies>;

/**
 * The form of a field in MessagePack: unchanged (`null`); unchanged, with nil for a missing field (`"optional"`); a record (an array); a
 * list of records; or a map with one entry.
 */
export type Shape = null | "optional" | Fields | readonly [Fields] | { readonly oneOf: Fields };
/** The fields of a record, in the order of its array. */
export interface Fields {
  readonly [field: string]: Shape;
}

const POSITION: Fields = { epoch: null, offset: null };
const FROM = { oneOf: { after: POSITION } };
const EVENT: Fields = { offset: null, time: null, sender: null, kind: null, data: null, key: "optional", user: null };
const SIGNAL: Fields = { sender: null, data: null, key: null };
const LIMITS: Fields = {
  message_bytes: null,
  joins: null,
  in_flight: null,
  history_events: null,
  presence_bytes: null,
  roster_members: null,
};
const WATCH = { oneOf: { since: null } };
const PRESENT: Fields = { member: null, user: null, data: null };
const ARRIVAL: Fields = { member: null, user: null, data: null, first: null };
const UPDATE: Fields = { member: null, data: null };
const DEPARTURE: Fields = { member: null, user: null, last: null };

export const CLIENT_FIELDS: Record<keyof ClientBodies, Fields> = {
  join: { id: null, object: null, from: FROM, presence: null, watch: WATCH, member: null },
  leave: { id: null, object: null },
  publish: { id: null, object: null, kind: null, data: null, key: null, after: null },
  signal: { id: null, object: null, data: null, key: null },
  history: { id: null, object: null, after: null, before: null, limit: null, reverse: null },
  "presence.set": { id: null, object: null, data: null },
  "presence.get": { id: null, object: null, since: null, after: null, limit: null },
  auth: { id: null, token: null },
  ping: { id: null },
};

export const SERVER_FIELDS: Record<keyof ServerBodies, Fields> = {
  welcome: { session: null, token: null, server: null, ping_interval_ms: null, limits: LIMITS },
  joined: { id: null, object: null, epoch: null, head: null, from: null, resumed: null, member: null, reset: null },
  events: { object: null, events: [EVENT] },
  caught_up: { object: null, offset: null },
  reset: { object: null, reason: null, epoch: null, from: null },
  published: { id: null, offset: null, time: null, duplicate: null },
  signals: { object: null, signals: [SIGNAL] },
  history: { id: null, epoch: null, more: null, events: [EVENT] },
  roster: {
    id: null,
    object: null,
    version: null,
    members: null,
    users: null,
    since: null,
    present: [PRESENT],
    left: null,
    more: null,
  },
  presence: {
    object: null,
    version: null,
    members: null,
    users: null,
    join: [ARRIVAL],
    update: [UPDATE],
    leave: [DEPARTURE],
  },
  done: { id: null },
  token_expiring: { expires_in_ms: null },
  removed: { object: null, code: null, message: null },
  error: { id: null, code: null, message: null, retry_after_ms: null },
};
