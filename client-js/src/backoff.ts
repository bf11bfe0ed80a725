/** The range of the pause before the next attempt. */
export interface BackoffRange {
  /** The first pause is random between 0 and this, in milliseconds; the range doubles with every further attempt. */
  readonly minMs: number;
  /** The largest range, in milliseconds. */
  readonly maxMs: number;
}

/**
 * Exponential back-off with full jitter: the pause is random between 0 and the whole range, so that clients that lost
 * their connections together do not reconnect together. `attempt` counts from 0; `random` is in [0, 1).
 */
export function backoffMs(range: BackoffRange, attempt: number, random: number): number {
  const ceiling = Math.min(range.maxMs, range.minMs * 2 ** attempt);
  return Math.round(ceiling * random);
}
