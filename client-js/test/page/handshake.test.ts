// What the client finds out about a failed handshake with the WebSocket of Chromium, which hides the status of the answer.
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launchChromium } from "../support/chromium.js";
import { RealServer } from "../support/server.js";

const BUNDLE = readFileSync(new URL("../../../server/src/http/page/dormouse.js", import.meta.url));

let browser: Browser;
let server: RealServer;
let page: Page;
/** Serves a page of another origin, without a content security policy. */
let other: Server;

beforeAll(async () => {
  [browser, server] = await Promise.all([launchChromium(), RealServer.start()]);
  page = await browser.newPage();
  other = createServer(({ url }, response) => {
    if (url === "/dormouse.js") response.setHeader("content-type", "text/javascript").end(BUNDLE);
    else response.setHeader("content-type", "text/html").end("<!doctype html>");
  });
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
  await new Promise((resolve) => other.close(resolve));
});

const otherOrigin = (): string => `http://127.0.0.1:${(other.address() as AddressInfo).port}`;

/** The first error that the state of a client tells, in the page of `origin`. */
async function firstError(origin: string, url: string): Promise<[state: string, message: string]> {
  await page.goto(origin);
  // As text, because the test runner changes an import in a function.
  const program = `(async () => {
    const { Dormouse } = await import("/dormouse.js");
    const client = new Dormouse(${JSON.stringify(url)});
    const told = new Promise((resolve) => client.on("state", ({ state, error }) => error && resolve([state, error.message])));
    client.connect();
    const first = await told;
    client.disconnect();
    return first;
  })()`;
  return page.evaluate<[string, string]>(program);
}

test("a wrong path on the page's own server closes the client and is told as 404", async () => {
  expect(await firstError(server.url, `${server.url}/wrong`)).toEqual(["closed", expect.stringContaining("HTTP 404")]);
});

test("a server that does not allow the page's origin: the error says that a server answers there", async () => {
  expect(await firstError(otherOrigin(), server.url)).toEqual(["connecting", expect.stringContaining("an HTTP server answers at this address")]);
});

test("a connection that the policy of the page forbids fails at once", async () => {
  expect(await firstError(server.url, otherOrigin())).toEqual(["connecting", expect.stringContaining("cannot connect to the server")]);
});
