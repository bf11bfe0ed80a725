/** Opens a WebSocket to the server that this page came from. */
export function connect() {
  const url = new URL("/v1/connect", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(url, "dormouse.v1.json");
}
