import type { BackoffRange } from "./backoff.js";
import type { ClientMessage, Limits } from "./messages.js";
import type { Replies, RequestBody, RequestType, Waiter } from "./requests.js";

/** What a room needs of the client. Only a room that is `connected` may send. */
export interface RoomContext<Room> {
  readonly backoff: BackoffRange;
  readonly timeoutMs: number;
  newKey(): string;
  /** What the server accepts; null before the first `welcome`. */
  limits(): Limits | null;
  /** Whether the server takes one more publish. */
  hasCapacity(): boolean;
  request<Type extends RequestType>(type: Type, body: RequestBody<Type>, waiter: Waiter<Replies[Type]>): void;
  send(message: ClientMessage): void;
  /** Messages for `object` belong to `room`. */
  joined(room: Room, object: number): void;
  /** The application gave the room up; the server may not know yet. */
  leaving(room: Room): void;
  /** Nothing of the room will follow. */
  gone(room: Room): void;
  /** The server broke the protocol. */
  broken(message: string): void;
}
