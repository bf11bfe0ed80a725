/**
 * Calls `listener` when a connection that looked dead or was waiting deserves a look at once: the network came back,
 * or somebody returned to the page. Does nothing where there is no browser. The returned function ends it.
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
