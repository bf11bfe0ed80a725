/** How long to wait before the next attempt. */
export interface BackoffRange {
  /** The first wait is between 0 and this, in milliseconds; the range doubles with every further one. */
  readonly minMs: number;
  /** The range grows to this and no further. */
  readonly maxMs: number;
}

/**
 * Exponential back-off with full jitter: anywhere between nothing and the whole range, so that clients which were
 * cut off together do not come back together. `attempt` counts from 0; `random` is in [0, 1).
 */
export function backoffMs(range: BackoffRange, attempt: number, random: number): number {
  const ceiling = Math.min(range.maxMs, range.minMs * 2 ** attempt);
  return Math.round(ceiling * random);
}
