import type { BackoffRange } from "./backoff.js";
import type { ClientMessage, Limits } from "./messages.js";
import type { Replies, ReplyHandler, RequestBody, RequestType } from "./requests.js";

/** What a room uses of the client. A room sends only while it is connected. */
export interface RoomContext<Room> {
  readonly backoff: BackoffRange;
  readonly timeoutMs: number;
  newKey(): string;
  /** The session id of this client; null before the first `welcome`. */
  sender(): string | null;
  /** What the server accepts; null before the first `welcome`. */
  limits(): Limits | null;
  /** Whether one more publish may be sent now. */
  hasCapacity(): boolean;
  request<Type extends RequestType>(type: Type, body: RequestBody<Type>, handler: ReplyHandler<Replies[Type]>): void;
  send(message: ClientMessage): void;
  /** Messages for `object` belong to `room` from now on. */
  joined(room: Room, object: number): void;
  /** The application left the room; the server may not know it yet. */
  leaving(room: Room): void;
  /** The room needs no more messages or calls. */
  closed(room: Room): void;
  /** The server broke the protocol. */
  protocolError(message: string): void;
}
