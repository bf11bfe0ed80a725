import { DormouseError } from "./errors.js";
import type { ClientBodies, ClientMessage, ServerBodies, ServerMessage } from "./messages.js";

/** Which reply each request gets. */
export interface Replies {
  join: ServerBodies["joined"];
  leave: ServerBodies["done"];
  publish: ServerBodies["published"];
  history: ServerBodies["history"];
  "presence.set": ServerBodies["done"];
  "presence.get": ServerBodies["roster"];
}
export type RequestType = keyof Replies;
export type RequestBody<Type extends RequestType> = Omit<ClientBodies[Type], "id">;

/** Who waits for a reply. Called at once when it comes, so that replies and events keep their order. */
export interface Waiter<Reply> {
  ok(reply: Reply): void;
  refused(error: DormouseError): void;
}

const MAX_ID = 2 ** 32 - 1;
const REPLIES: ReadonlySet<string> = new Set(["joined", "published", "history", "roster", "done"]);

/**
 * The requests of one connection that wait for their reply: never more than the server allows. Publishes ask first
 * whether there is room; the other requests are few and wait here for their turn.
 */
export class Requests {
  readonly #waiters = new Map<number, Waiter<never>>();
  readonly #queue: (() => void)[] = [];
  /** 0 belongs to the connection's own pings. */
  #lastId = 0;

  constructor(
    private readonly limit: number,
    private readonly send: (message: ClientMessage) => void,
  ) {}

  /** Whether one more publish may be sent. */
  hasCapacity(): boolean {
    return this.#queue.length === 0 && this.#hasSlot();
  }

  /** Sends a request, now or when there is room. A message that can't be sent at all throws, or is refused to `waiter`. */
  request<Type extends RequestType>(type: Type, body: RequestBody<Type>, waiter: Waiter<Replies[Type]>): void {
    if (this.hasCapacity()) this.#send(type, body, waiter);
    else {
      this.#queue.push(() => {
        try {
          this.#send(type, body, waiter);
        } catch (error) {
          waiter.refused(error as DormouseError);
        }
      });
    }
  }

  /** Hands a reply to who waits for it. False where it answers nothing. */
  settle(message: ServerMessage): boolean {
    if (message.type !== "error" && !REPLIES.has(message.type)) return false;
    const { id } = message.body as { id: number | null };
    const waiter = id === null ? undefined : this.#waiters.get(id);
    if (id === null || !waiter) return false;
    this.#waiters.delete(id);
    if (message.type === "error") waiter.refused(new DormouseError(message.body.code, message.body.message));
    else waiter.ok(message.body as never);
    while (this.#queue.length > 0 && this.#hasSlot()) this.#queue.shift()!();
    return true;
  }

  /** One slot stays free for the connection's own ping. */
  #hasSlot(): boolean {
    return this.#waiters.size < Math.max(1, this.limit - 1);
  }

  #send<Type extends RequestType>(type: Type, body: RequestBody<Type>, waiter: Waiter<Replies[Type]>): void {
    const id = this.#lastId === MAX_ID ? 1 : this.#lastId + 1;
    this.send({ type, body: { id, ...body } } as ClientMessage);
    this.#lastId = id;
    this.#waiters.set(id, waiter);
  }
}
