/** Returns a function that makes unique keys, also among all clients of the same session. */
export function newKeys(): () => string {
  const random = crypto.getRandomValues(new Uint8Array(6));
  const prefix = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  let count = 0;
  return () => `${prefix}.${(++count).toString(36)}`;
}
