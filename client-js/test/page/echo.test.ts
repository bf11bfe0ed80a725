// The WebSocket of Chromium against the echo of the server.
import { type Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { launchChromium } from "../support/chromium.js";
import { ECHO_SERVERS, echoUrl, exchange, IN_ORDER, SIZES } from "../support/echo.js";
import { RealServer } from "../support/server.js";

let browser: Browser;
beforeAll(async () => void (browser = await launchChromium()));
afterAll(() => browser?.close());

describe.each(ECHO_SERVERS)("a server %s", (_, settings) => {
  let server: RealServer;
  beforeAll(async () => void (server = await RealServer.start(settings)));
  afterAll(() => server?.remove());

  test("and Chromium exchange messages of all sizes", async () => {
    const page = await browser.newPage();
    await page.goto(server.url);
    const call = `(${exchange})(WebSocket, "${echoUrl(server.port)}", ${JSON.stringify(SIZES)})`;
    const compresses = settings.DORMOUSE_COMPRESSION === "true";
    expect(await page.evaluate(call)).toEqual({
      ...IN_ORDER,
      extensions: compresses ? "permessage-deflate; server_no_context_takeover; client_no_context_takeover" : "",
    });
    await page.close();
  });

  test("and the built-in page show a long conversation", async () => {
    const page = await browser.newPage();
    await page.goto(`${server.url}/#room=long`);
    await page.waitForSelector("#state[data-state=live]", { timeout: 20_000 });
    const text = "It goes on and on. ".repeat(50).trim();
    for (let count = 1; count <= 3; count += 1) {
      await page.fill("#text", text);
      await page.press("#text", "Enter");
      await page.waitForFunction((count) => document.querySelectorAll("#messages .message").length === count, count);
    }
    await page.reload();
    await page.waitForFunction(() => document.querySelectorAll("#messages .message").length === 3);
    expect(await page.$$eval("#messages .text", (items) => items.map((item) => item.textContent))).toEqual([text, text, text]);
    await page.close();
  });
});
