/** With the flag `u` this class matches only halves of surrogate pairs. Not every engine has `isWellFormed`. */
const LONE_SURROGATE = /[\ud800-\udfff]/u;
const LONE_SURROGATES = /[\ud800-\udfff]/gu;

/** Whether the text contains half of a surrogate pair, which has no form in UTF-8. */
export function hasLoneSurrogate(text: string): boolean {
  return LONE_SURROGATE.test(text);
}

/** Replaces each half of a surrogate pair with U+FFFD, as `TextEncoder` does. */
export function toWellFormed(text: string): string {
  return hasLoneSurrogate(text) ? text.replace(LONE_SURROGATES, "\ufffd") : text;
}

/** The UTF-8 length of the text in bytes. */
export function utf8Length(text: string): number {
  return new TextEncoder().encode(text).length;
}
