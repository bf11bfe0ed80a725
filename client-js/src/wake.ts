/**
 * Calls `listener` when the network comes back or the page becomes visible, so that the connection is checked or opened
 * at once. Without a browser it does nothing. The returned function removes the listeners.
 */
export function onWake(listener: () => void): () => void {
  const page = globalThis.document as Document | undefined;
  const onVisible = () => {
    if (page?.visibilityState === "visible") listener();
  };
  globalThis.addEventListener?.("online", listener);
  page?.addEventListener("visibilitychange", onVisible);
  return () => {
    globalThis.removeEventListener?.("online", listener);
    page?.removeEventListener("visibilitychange", onVisible);
  };
}
