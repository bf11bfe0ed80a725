export { Dormouse, type ClientEvents, type ClientState, type DormouseOptions, type Session } from "./client.js";
export type { JoinOptions } from "./join-options.js";
export { Room, type RoomEvents, type RoomState } from "./room.js";
export { DormouseError, isRetryable, Unauthorized, type ErrorCode, type ServerErrorCode } from "./errors.js";
export type { Encoding } from "./codec.js";
export type { WebSocketClass, WebSocketLike } from "./connection.js";
export type { Listener } from "./emitter.js";
export type {
  Arrival,
  Departure,
  From,
  Limits,
  Position,
  ResetReason,
  RoomEvent,
  RoomSignal,
  RosterMember,
} from "./messages.js";
export type { Published } from "./outbox.js";
export type { PublishOptions } from "./publisher.js";
export type { HistoryOptions, HistoryPage, RosterOptions, RosterPage } from "./reads.js";
export type { PresenceChange, Roster } from "./roster.js";
export type { Watch } from "./roster-subscription.js";
