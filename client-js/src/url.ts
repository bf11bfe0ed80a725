import { DormouseError } from "./errors.js";

const PATH = "/v1/connect";

/**
 * The URL of the WebSocket of a server. Takes the URL of the server with or without the path `/v1/connect`, and
 * `http(s):` in place of `ws(s):`. Throws `bad_request` for anything else.
 */
export function connectUrl(server: string | URL): URL {
  let url: URL;
  try {
    url = new URL(server);
  } catch {
    throw invalid(server);
  }
  url.protocol = url.protocol.replace(/^http/, "ws");
  if (url.protocol !== "ws:" && url.protocol !== "wss:") throw invalid(server);
  const path = url.pathname.replace(/\/+$/, "");
  url.pathname = path.endsWith(PATH) ? path : path + PATH;
  url.hash = "";
  return url;
}

/** The same address for an HTTP request. */
export function httpUrl(url: URL): URL {
  const http = new URL(url);
  http.protocol = url.protocol.replace(/^ws/, "http");
  return http;
}

function invalid(server: string | URL): DormouseError {
  return new DormouseError(
    "bad_request",
    `invalid server URL "${String(server)}": write ws:// or wss:// and the host, for example ws://127.0.0.1:7700`,
  );
}
