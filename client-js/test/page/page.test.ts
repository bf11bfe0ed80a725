import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContext, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { launchChromium } from "../support/chromium.js";
import { RealServer } from "../support/server.js";

const SHOTS = fileURLToPath(new URL("./screenshots/", import.meta.url));

let server: RealServer;
let browser: Browser;
let contexts: BrowserContext[] = [];
let failures: string[];

beforeAll(async () => {
  mkdirSync(SHOTS, { recursive: true });
  browser = await launchChromium();
});
beforeEach(async () => {
  failures = [];
  server = await RealServer.start();
});
afterEach(async () => {
  await Promise.all(contexts.map((context) => context.close()));
  contexts = [];
  await server.remove();
  expect(failures).toEqual([]);
});
afterAll(() => browser?.close());

type Look = Parameters<Browser["newContext"]>[0];

/** A browser profile. */
async function profile(look: Look = {}): Promise<BrowserContext> {
  const context = await browser.newContext({ viewport: { width: 1100, height: 720 }, ...look });
  contexts.push(context);
  return context;
}

/** A page of a person who typed a name before, in a separate browser profile. */
async function open(name: string, room: string, look: Look = {}, at = server.url): Promise<Page> {
  const context = await profile(look);
  await context.addInitScript((name) => localStorage.setItem("dormouse.name", name), name);
  return tab(context, name, room, at);
}

async function tab(context: BrowserContext, name: string, room: string, at = server.url): Promise<Page> {
  const page = await context.newPage();
  page.on("pageerror", (error) => failures.push(`${name}: ${error.message}`));
  page.on("console", (message) => {
    // The content security policy must allow everything that the page uses. The browser itself reports an unreachable server.
    if (message.text().includes("Content Security Policy")) failures.push(`${name}: ${message.text()}`);
  });
  page.on("response", (response) => {
    // A room that was never used does not exist as an object.
    const isUnused = response.status() === 404 && response.url().includes("/v1/objects/");
    if (response.status() >= 400 && !isUnused) failures.push(`${name}: ${response.status()} for ${response.url()}`);
  });
  await page.goto(`${at}/#room=${encodeURIComponent(room)}`);
  await isLive(page);
  return page;
}

const isLive = (page: Page): Promise<unknown> => page.waitForSelector("#state[data-state=live]", { timeout: 20_000 });

async function say(page: Page, text: string): Promise<void> {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

/** Offset, name and text of every message that is shown, once there are `count`. */
async function messages(page: Page, count: number): Promise<string[]> {
  await page.waitForFunction((count) => document.querySelectorAll("#messages .message").length >= count, count);
  return page.$$eval("#messages .message", (items) =>
    items.map((item) => [".offset", ".who", ".text"].map((part) => item.querySelector(part)!.textContent).join(" ")),
  );
}

const shown = (page: Page, id: string): Promise<string | null> => page.textContent(`#${id}`);

/** Ends the pauses of the browser at once. The page does not depend on it, but the test is faster. */
const tryNow = (page: Page): Promise<void> =>
  page.evaluate(() => {
    dispatchEvent(new Event("online"));
  });

test("two people chat; the server dies and comes back; nothing is missed or repeated", async () => {
  const ann = await open("Ann", "tea");
  const bob = await open("Bob", "tea", { colorScheme: "dark" });
  await say(ann, "Is the kettle on?");
  await messages(bob, 1);
  await say(bob, "It is.");
  const both = ["#1 Ann Is the kettle on?", "#2 Bob It is."];
  expect(await messages(ann, 2)).toEqual(both);
  expect(await messages(bob, 2)).toEqual(both);

  await bob.type("#text", "wait");
  await ann.waitForFunction(() => document.getElementById("typing")!.textContent === "Bob is typing…");

  await server.kill();
  await ann.waitForSelector("#state[data-state=waiting]");
  expect(await shown(ann, "state-text")).toMatch(/^retrying in \d+ s$/);
  await bob.waitForSelector("#state[data-state=waiting]");
  await say(bob, "Sent while the server is away.");
  expect(await bob.$$eval("#pending .message", (items) => items.map((item) => item.querySelector(".offset")!.textContent))).toEqual([
    "waits for the server",
  ]);
  await bob.screenshot({ path: `${SHOTS}away-dark.png` });

  await server.start();
  // Both pages reconnect by themselves.
  await Promise.all([isLive(ann), isLive(bob)]);
  await say(ann, "And now it is back.");
  const texts = ["Is the kettle on?", "It is.", "Sent while the server is away.", "And now it is back."];
  for (const page of [ann, bob]) {
    const all = await messages(page, 4);
    expect(all.map((line) => line.split(" ")[0])).toEqual(["#1", "#2", "#3", "#4"]);
    for (const text of texts) expect(all.filter((line) => line.endsWith(text))).toHaveLength(1);
    expect(await page.locator("#pending .message").count()).toBe(0);
    expect(await shown(page, "resumed")).toBe("1");
    expect(await shown(page, "offset")).toBe("4");
    expect(await shown(page, "caught-up")).toBe("yes");
  }
  expect(await messages(ann, 4)).toEqual(await messages(bob, 4));
  expect(await shown(ann, "epoch")).toBe(await shown(bob, "epoch"));

  const before = await messages(ann, 4);
  const session = await shown(ann, "session");
  await ann.reload();
  await isLive(ann);
  expect(await messages(ann, 4)).toEqual(before);
  expect(await shown(ann, "session")).toBe(session);
  expect(await ann.locator("#messages .mine").count()).toBe(2);
  await ann.screenshot({ path: `${SHOTS}chat-light.png` });
  await bob.screenshot({ path: `${SHOTS}chat-dark.png` });
});

test("two tabs are two people, each the same after a reload; a typed name is also for later tabs", async () => {
  const context = await profile();
  const [first, second] = [await tab(context, "first", "tea"), await tab(context, "second", "tea")];
  const nameOf = (page: Page): Promise<string> => page.inputValue("#name");
  const drawn = await nameOf(first);
  expect(drawn).toMatch(/^\w+ \w+$/);
  // The random name of one tab is not passed to the other tab, not even after a message.
  await say(first, "hello");
  await messages(second, 1);
  expect(await first.evaluate(() => localStorage.getItem("dormouse.name"))).toBeNull();
  await first.reload();
  await isLive(first);
  expect(await nameOf(first)).toBe(drawn);
  expect(await shown(first, "session")).not.toBe(await shown(second, "session"));

  const other = await nameOf(second);
  await first.fill("#name", "Ann");
  await first.press("#name", "Enter");
  await second.reload();
  expect(await nameOf(second)).toBe(other);
  expect(await nameOf(await tab(context, "third", "tea"))).toBe("Ann");
});

test("an address that names no room says so and is put right", async () => {
  const ann = await open("Ann", "foo bar/../x");
  expect(await shown(ann, "notices")).toContain("“foo bar/../x” can't be the name of a room");
  expect([await ann.inputValue("#room"), new URL(ann.url()).hash]).toEqual(["lobby", "#room=lobby"]);
  await ann.screenshot({ path: `${SHOTS}notice-light.png` });
  await ann.click("#understood");
  expect(await ann.isVisible("#notice")).toBe(false);

  await ann.fill("#room", "tea");
  await ann.press("#room", "Enter");
  await isLive(ann);
  await ann.evaluate(() => (location.hash = "#room=a/b"));
  await ann.waitForSelector("#notice", { state: "visible" });
  expect([await ann.inputValue("#room"), new URL(ann.url()).hash]).toEqual(["tea", "#room=tea"]);
});

test("who leaves a room while the server is away is told which messages it had not confirmed", async () => {
  const ann = await open("Ann", "tea");
  await server.kill();
  await ann.waitForSelector("#state[data-state=waiting]");
  await say(ann, "Is anybody there?");
  await ann.fill("#room", "two");
  await ann.press("#room", "Enter");
  await ann.waitForSelector("#notice", { state: "visible" });
  expect(await shown(ann, "notices")).toBe("You left tea before the server confirmed this message: Is anybody there?");
  expect(await ann.locator("#pending .message").count()).toBe(0);
});

test("the conversation takes the place of the closed panel", async () => {
  const ann = await open("Ann", "tea");
  const width = async (): Promise<number> => (await ann.locator("#chat").boundingBox())!.width;
  expect(await width()).toBeLessThan(1_100);
  const title = await ann.locator("summary").boundingBox();
  await ann.click("summary");
  expect(await width()).toBe(1_100);
  expect((await ann.locator("summary").boundingBox())!.y).toBe(title!.y);
  await ann.screenshot({ path: `${SHOTS}panel-closed-light.png` });
});

test("what was missed meanwhile is counted as replayed", async () => {
  const ann = await open("Ann", "tea");
  const bob = await open("Bob", "tea");
  await say(ann, "one");
  await messages(bob, 1);
  // Bob's page cannot reconnect until Ann has published.
  await bob.context().setOffline(true);
  await server.kill();
  await server.start();
  await tryNow(ann);
  await isLive(ann);
  for (const text of ["two", "three", "four"]) await say(ann, text);
  await messages(ann, 4);
  await bob.context().setOffline(false);
  await tryNow(bob);
  expect(await messages(bob, 4)).toEqual(["#1 Ann one", "#2 Ann two", "#3 Ann three", "#4 Ann four"]);
  await isLive(bob);
  expect([await shown(bob, "resumed"), await shown(bob, "replayed")]).toEqual(["1", "3 events"]);
});

test("a room is chosen by the address or the field, and a long one shows its end first", async () => {
  const ann = await open("Ann", "one");
  for (let n = 1; n <= 60; n++) await say(ann, `message ${n}`);
  await messages(ann, 60);
  await ann.reload();
  await isLive(ann);
  const last = await messages(ann, 50);
  expect([last.length, last[0], last.at(-1)]).toEqual([50, "#11 Ann message 11", "#60 Ann message 60"]);
  await ann.click("#earlier");
  const all = await messages(ann, 60);
  expect(all.map((line) => line.split(" ")[0])).toEqual(Array.from({ length: 60 }, (_, n) => `#${n + 1}`));
  expect(await ann.isVisible("#earlier")).toBe(false);

  await ann.fill("#room", "two");
  await ann.press("#room", "Enter");
  await ann.waitForFunction(() => location.hash === "#room=two");
  await isLive(ann);
  await ann.waitForSelector("#empty", { state: "visible" });
  await say(ann, "alone");
  expect(await messages(ann, 1)).toEqual(["#1 Ann alone"]);
  await ann.goBack();
  expect(await messages(ann, 50)).toEqual(all.slice(10));
});

test("a server with new data is a clear notice, not a mixture", async () => {
  const ann = await open("Ann", "tea");
  await say(ann, "of the old server");
  await messages(ann, 1);
  await server.kill();
  server.forget();
  await server.start();
  await tryNow(ann);
  await ann.waitForSelector(".notice");
  await isLive(ann);
  expect(await ann.locator("#messages .message").count()).toBe(0);
  await say(ann, "of the new one");
  expect(await messages(ann, 1)).toEqual(["#1 Ann of the new one"]);
  await ann.screenshot({ path: `${SHOTS}reset-light.png` });
});

test("who is here is shown, and how the room rests", async () => {
  const here = (page: Page): Promise<string[]> =>
    page.$$eval("#people li", (items) => items.map((item) => item.querySelector(".who")!.textContent!));
  const areHere = (page: Page, count: number): Promise<unknown> =>
    page.waitForFunction((count) => document.getElementById("here")!.textContent === `${count} here`, count);
  // Only the address for operators tells how the room rests.
  const ann = await open("Ann", "tea", {}, server.internal);
  const bob = await open("Bob", "tea", { colorScheme: "dark" });
  await Promise.all([areHere(ann, 2), areHere(bob, 2)]);
  // The page's own user is first.
  expect([await here(ann), await here(bob)]).toEqual([
    ["Ann", "Bob"],
    ["Bob", "Ann"],
  ]);
  await bob.fill("#name", "Bobby");
  await bob.press("#name", "Enter");
  await ann.waitForSelector("#people [title=Bobby]");

  await say(ann, "Is anybody asleep?");
  await messages(bob, 1);
  await ann.waitForSelector("#rest", { state: "visible" });
  expect(await shown(ann, "rest-text")).toMatch(/^(awake|woke in|falling asleep|asleep)/);
  expect(await bob.isVisible("#rest")).toBe(false);
  await ann.screenshot({ path: `${SHOTS}here-light.png` });
  await bob.screenshot({ path: `${SHOTS}here-dark.png` });

  // A reload is not shown as a departure.
  const departures = await ann.evaluateHandle(() => {
    const counts: string[] = [];
    const here = document.getElementById("here")!;
    new MutationObserver(() => counts.push(here.textContent!)).observe(here, { childList: true });
    return counts;
  });
  await bob.reload();
  await isLive(bob);
  await areHere(bob, 2);
  await bob.fill("#room", "elsewhere");
  await bob.press("#room", "Enter");
  await areHere(ann, 1);
  expect((await departures.jsonValue()).filter((text) => text !== "2 here")).toEqual(["1 here"]);
});

test("who closes a tab says goodbye and is not waited for", async () => {
  const ann = await open("Ann", "tea");
  const bob = await open("Bob", "tea");
  await ann.waitForSelector("#people [title=Bob]");
  const metric = async (name: string): Promise<string | undefined> =>
    new RegExp(`^${name} (\\d+)$`, "m").exec(await (await fetch(`${server.internal}/metrics`)).text())?.[1];
  const before = await metric("dormouse_presence_lost_total");
  await bob.close({ runBeforeUnload: true });
  await ann.waitForSelector("#people [title=Bob]", { state: "detached" });
  expect(await shown(ann, "here")).toBe("1 here");
  expect([before, await metric("dormouse_presence_lost_total")]).toEqual(["0", "0"]);
});

test("a server that asks for tokens is a clear notice", async () => {
  await server.remove();
  server = await RealServer.startWithKey();
  const page = await (await profile()).newPage();
  await page.goto(`${server.url}/#room=tea`);
  await page.waitForSelector("#notice", { state: "visible" });
  expect(await page.textContent("#notices")).toContain("asks for a token");
  expect(await shown(page, "state-text")).toBe("stopped");
  await page.screenshot({ path: `${SHOTS}token-light.png` });
});

test("fits a phone, and works by keyboard", async () => {
  const phone = { viewport: { width: 375, height: 667 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };
  const ann = await open("Ann", "tea", { ...phone, colorScheme: "dark" });
  const bob = await open("Bob-with-a-rather-long-name-for-a-phone", "tea", phone);
  await say(ann, "Hello from a phone 📱");
  await say(bob, "A longer message that needs several lines on a screen this narrow: averyveryveryveryveryveryveryverylongword.");
  await messages(ann, 2);
  for (const page of [ann, bob]) {
    const fits = await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
    expect(fits).toBe(true);
  }
  await ann.screenshot({ path: `${SHOTS}phone-dark.png` });
  await bob.focus("summary");
  await bob.keyboard.press("Enter");
  expect(await bob.isVisible("#session")).toBe(true);
  await bob.screenshot({ path: `${SHOTS}phone-light.png` });
  await bob.focus("#name");
  await bob.keyboard.press("Tab");
  expect(await bob.evaluate(() => document.activeElement!.id)).toBe("text");

  // The button appears without moving the conversation, and is large enough for a thumb.
  const chat = await ann.locator("#chat").boundingBox();
  await server.kill();
  await ann.waitForSelector("#retry", { state: "visible" });
  await say(ann, "Sent while the server is away.");
  const button = (await ann.locator("#retry").boundingBox())!;
  expect(button.height).toBeGreaterThanOrEqual(40);
  expect(button.x + button.width).toBeGreaterThan(350);
  expect(await ann.locator("#chat").boundingBox()).toEqual(chat);
  expect(await ann.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
  const isCut = await ann.$eval("#state-text", (text) => text.scrollWidth > text.clientWidth);
  expect(isCut).toBe(false);
  await ann.screenshot({ path: `${SHOTS}phone-away-dark.png` });
  await bob.screenshot({ path: `${SHOTS}phone-panel-away-light.png` });
});
