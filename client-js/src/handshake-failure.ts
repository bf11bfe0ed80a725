import { httpUrl } from "./url.js";

/** Why a WebSocket handshake failed, as far as this can be found out. */
export interface HandshakeFailure {
  readonly message: string;
  /** Another attempt would get the same answer. */
  readonly isPermanent: boolean;
}

/** The package `ws` reports the status in this form. No other WebSocket lets a program see it. */
const STATUS_IN_PROBLEM = /^Unexpected server response: (\d{3})$/;
/** The answer of a server to any request that is not a WebSocket handshake. */
const UPGRADE_REQUIRED = 426;

/**
 * Finds out why a handshake failed before the WebSocket opened. Where the WebSocket does not tell the status of the
 * answer, this sends one ordinary request to the same address. `problem` is what the WebSocket said, or empty.
 */
export async function explainHandshakeFailure(url: string, problem: string, signal: AbortSignal): Promise<HandshakeFailure> {
  const known = STATUS_IN_PROBLEM.exec(problem)?.[1];
  if (known !== undefined) return explain(Number(known), true);
  const status = await requestStatus(url, signal);
  return status === null ? { message: problem, isPermanent: false } : explain(status, false);
}

/** The status of the answer; 0 where the browser hides it from this page, null where there is no answer. */
async function requestStatus(url: string, signal: AbortSignal): Promise<number | null> {
  const address = httpUrl(new URL(url));
  address.searchParams.delete("session");
  try {
    // `no-cors` does not hide a same-origin answer, and tells of a cross-origin answer at least that there is one.
    const response = await fetch(address.href, { mode: "no-cors", cache: "no-store", signal });
    void response.body?.cancel();
    return response.status;
  } catch {
    return null;
  }
}

function explain(status: number, isOfHandshake: boolean): HandshakeFailure {
  const answered = `the server answered HTTP ${status}`;
  switch (status) {
    case 0:
      return {
        message: "an HTTP server answers at this address, but the WebSocket handshake failed; check the URL, the server's allowed origins and its log",
        isPermanent: false,
      };
    case 404:
      return { message: `${answered}: there is no Dormouse server at this URL`, isPermanent: true };
    case 400:
      return { message: `${answered}: it does not accept this WebSocket handshake`, isPermanent: true };
    case UPGRADE_REQUIRED:
      if (isOfHandshake) return { message: `${answered}: a proxy on the way does not forward the WebSocket handshake`, isPermanent: true };
      return {
        message: "a server answers at this address, but the WebSocket handshake failed; a proxy on the way may not forward it",
        isPermanent: false,
      };
    default:
      return { message: `${answered} instead of opening a WebSocket`, isPermanent: false };
  }
}
