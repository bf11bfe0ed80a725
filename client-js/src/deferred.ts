import type { DormouseError } from "./errors.js";

/** A promise and the functions that settle it. */
export class Deferred<Value> {
  resolve!: (value: Value | PromiseLike<Value>) => void;
  #reject!: (error: DormouseError) => void;
  readonly promise = new Promise<Value>((resolve, reject) => {
    this.resolve = resolve;
    this.#reject = reject;
  });

  /**
   * Rejects the promise. Where the application itself ended the operation, with `leave` or `disconnect`, a promise that
   * it does not use is not an unhandled rejection.
   */
  reject(error: DormouseError): void {
    if (error.code === "left" || error.code === "disconnected") this.promise.catch(() => {});
    this.#reject(error);
  }
}
