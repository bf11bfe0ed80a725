import { DormouseError } from "./errors.js";
import type { ClientBodies, ClientMessage, ServerBodies, ServerMessage } from "./messages.js";

/** The reply to each type of request. */
export interface Replies {
  join: ServerBodies["joined"];
  leave: ServerBodies["done"];
  publish: ServerBodies["published"];
  history: ServerBodies["history"];
  "presence.set": ServerBodies["done"];
  "presence.get": ServerBodies["roster"];
  auth: ServerBodies["done"];
}
export type RequestType = keyof Replies;
export type RequestBody<Type extends RequestType> = Omit<ClientBodies[Type], "id">;

/** Receives a reply. It is called synchronously, so that replies and events keep their order. */
export interface ReplyHandler<Reply> {
  ok(reply: Reply): void;
  refused(error: DormouseError): void;
}

/** The error of an `error` message. */
export function refusal({ code, message, retry_after_ms }: ServerBodies["error"]): DormouseError {
  return new DormouseError(code, message, undefined, retry_after_ms);
}

const MAX_ID = 2 ** 32 - 1;
const REPLIES: ReadonlySet<string> = new Set(["joined", "published", "history", "roster", "done"]);

/**
 * The requests of one connection that wait for their reply, never more than the server allows. A publisher asks first
 * whether there is capacity; the other requests are few and wait here in a queue.
 */
export class Requests {
  readonly #handlers = new Map<number, ReplyHandler<never>>();
  readonly #queue: (() => void)[] = [];
  /** 0 is the id of the connection's own pings. */
  #lastId = 0;

  constructor(
    private readonly limit: number,
    private readonly send: (message: ClientMessage) => void,
  ) {}

  /** Whether one more publish may be sent now. */
  hasCapacity(): boolean {
    return this.#queue.length === 0 && this.#isBelowLimit();
  }

  /** Sends a request, now or when there is capacity. If the message is too large, this throws or calls `refused`. */
  request<Type extends RequestType>(type: Type, body: RequestBody<Type>, handler: ReplyHandler<Replies[Type]>): void {
    if (this.hasCapacity()) this.#send(type, body, handler);
    else {
      this.#queue.push(() => {
        try {
          this.#send(type, body, handler);
        } catch (error) {
          handler.refused(error as DormouseError);
        }
      });
    }
  }

  /** Passes a reply to its handler. False if the message is not the reply to a request. */
  settle(message: ServerMessage): boolean {
    if (message.type !== "error" && !REPLIES.has(message.type)) return false;
    const { id } = message.body as { id: number | null };
    const handler = id === null ? undefined : this.#handlers.get(id);
    if (id === null || !handler) return false;
    this.#handlers.delete(id);
    if (message.type === "error") handler.refused(refusal(message.body));
    else handler.ok(message.body as never);
    while (this.#queue.length > 0 && this.#isBelowLimit()) this.#queue.shift()!();
    return true;
  }

  /** One request is reserved for the connection's own ping. */
  #isBelowLimit(): boolean {
    return this.#handlers.size < Math.max(1, this.limit - 1);
  }

  #send<Type extends RequestType>(type: Type, body: RequestBody<Type>, handler: ReplyHandler<Replies[Type]>): void {
    const id = this.#lastId === MAX_ID ? 1 : this.#lastId + 1;
    this.send({ type, body: { id, ...body } } as unknown as ClientMessage);
    this.#lastId = id;
    this.#handlers.set(id, handler);
  }
}
