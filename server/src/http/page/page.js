// A small chat that shows what the server promises. It uses only the client's public API.
import { Dormouse } from "./dormouse.js";
import { dress, nameOf } from "./look.js";
import { showPeople } from "./people.js";
import { watchRest } from "./rest.js";

/** @typedef {{ name: string, text: string }} Chat */

const SHOWN_AT_FIRST = 50;
const SHOWN_AT_MOST = 1_000;
const TYPING_SENT_MS = 2_000;
const TYPING_SHOWN_MS = 4_000;

const $ = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

// Each tab is somebody of its own. It keeps its session, so that after a reload it is still the sender of what it said.
const client = new Dormouse(location.origin, { session: sessionStorage.getItem("dormouse.session") ?? undefined });
let room;
/** What is known of the room since it was joined on this page. */
let seen;

// ---- The connection

client.on("welcome", ({ session }) => {
  sessionStorage.setItem("dormouse.session", session.token);
  $("session").textContent = session.id;
});

let retryAt = null;
client.on("state", ({ state, retryAt: at, error }) => {
  retryAt = at;
  // Another server, or one with new data, does not know this tab: it starts as somebody new.
  if (state === "closed" && error.closeCode === 3500) {
    sessionStorage.removeItem("dormouse.session");
    client.connect();
    return;
  }
  if (state === "closed") {
    const wantsToken = error.closeCode === 3501;
    tell(wantsToken ? "This server asks for a token, and this page has none: use a client with a token." : error.message);
  }
  showState();
});
client.on("error", (error) => console.warn(error.message));

$("retry").addEventListener("click", () => client.connect());

function showState() {
  const [name, text] = stateNow();
  $("state").dataset.state = name;
  // Only a change is announced to who listens to the page.
  if ($("state-text").textContent !== text) $("state-text").textContent = text;
  $("retry").hidden = name !== "stopped" && retryAt === null;
  // While there is no connection nobody knows who is here: those of before are shown as such.
  $("here-now").classList.toggle("of-before", client.state !== "connected");
  $("caught-up").textContent = name === "live" ? "yes" : "no";
  $("epoch").textContent = room.position?.epoch ?? "–";
  $("offset").textContent = room.position?.offset ?? "–";
  for (const mark of document.querySelectorAll("#pending .message:not(.failed) .offset")) mark.textContent = unsentMark();
}

const unsentMark = () => (client.state === "connected" ? "sending…" : "waits for the server");

function stateNow() {
  if (client.state === "closed" || client.state === "disconnected") return ["stopped", "stopped"];
  if (room.state === "failed") return ["stopped", "the server refused this room"];
  if (retryAt !== null) return ["waiting", `retrying in ${Math.max(0, Math.ceil((retryAt - Date.now()) / 1_000))} s`];
  if (client.state === "connecting") return ["connecting", seen.joined ? "reconnecting" : "connecting"];
  return room.state === "live" ? ["live", "live"] : ["catching_up", "catching up"];
}

setInterval(() => {
  if (retryAt !== null) showState();
}, 250);

// Who closes the page leaves at once, and is not waited for as somebody whose connection was lost. A reload leaves too, and
// comes back. A page that the browser keeps may go on.
addEventListener("pagehide", ({ persisted }) => {
  if (!persisted) client.disconnect();
});

const rest = watchRest(() => (client.state === "connected" ? room.name : null));

// ---- The room

function enter(name) {
  room?.leave();
  seen = { joined: false, reset: false, resumed: 0, replayed: null };
  $("room").value = name;
  document.title = `${name} · Dormouse`;
  for (const list of ["messages", "pending"]) $(list).replaceChildren();
  $("earlier").hidden = true;
  $("empty").hidden = true;
  isAtEnd = true;
  typing.clear();
  showTyping();
  const entered = client.join(`room/${name}`, { from: { last: SHOWN_AT_FIRST }, presence: self(), watch: "roster" });
  room = entered;
  // A room that was left says nothing more, except that it was left.
  entered.on("state", ({ state, error }) => {
    if (entered !== room) return;
    if (state === "catching_up") joined();
    if (state === "failed") notice(`The server refused this room: ${error.message}`);
    showState();
  });
  entered.on("event", (event) => received(event));
  entered.on("caught_up", () => {
    $("empty").hidden = $("messages").childElementCount > 0;
    showResumed();
  });
  entered.on("reset", ({ reason }) => {
    seen.reset = true;
    $("messages").replaceChildren();
    notice(`${RESETS[reason]} Everything that the server keeps follows.`);
  });
  for (const news of ["presence", "roster"]) entered.on(news, () => showPeople(entered, client.session?.id));
  entered.on("signal", ({ sender, data, key }) => {
    if (key === "typing" && sender !== client.session?.id) isTyping(sender, data);
  });
  showPeople(entered);
  rest.look();
  showState();
  showResumed();
}

const RESETS = {
  trimmed: "You were away for longer than messages are kept, so some are missing.",
  other_epoch: "This room was lost or replaced on the server while you were away.",
  ahead: "The server lost the newest messages of this room.",
};

function joined() {
  if (seen.joined && !seen.reset) seen.resumed += 1;
  if (seen.joined) seen.replayed = 0;
  seen.joined = true;
  seen.reset = false;
}

function showResumed() {
  $("resumed").textContent = seen.resumed;
  $("replayed").textContent = seen.replayed === null ? "–" : `${seen.replayed} ${seen.replayed === 1 ? "event" : "events"}`;
}

const roomOfHash = () => new URLSearchParams(location.hash.slice(1)).get("room") || "lobby";
const hashOf = (name) => `#${new URLSearchParams({ room: name })}`;
const shortName = ({ name }) => name.slice("room/".length);

/** Goes where the address says. Where that can't be a room the page stays, says so, and puts the address right. */
function followAddress() {
  const name = roomOfHash();
  const isName = /^[A-Za-z0-9\-_.:~@]{1,128}$/.test(name);
  if (!isName) {
    history.replaceState(null, "", hashOf(room ? shortName(room) : "lobby"));
    const shown = name.length > 80 ? `${name.slice(0, 80)}…` : name;
    tell(`“${shown}” can't be the name of a room: use 1 to 128 letters (A–Z, a–z), digits and - _ . : ~ @ without spaces.`);
  }
  if (!room || shortName(room) !== roomOfHash()) enter(roomOfHash());
}

addEventListener("hashchange", followAddress);

$("room-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = $("room");
  input.value = input.value.trim().replace(/^room\//, "").replaceAll(/[^A-Za-z0-9\-_.:~@]+/g, "-");
  location.hash = hashOf(input.value);
  input.blur();
});
$("room").addEventListener("blur", () => ($("room").value = roomOfHash()));

// ---- Messages

function received(event) {
  if (seen.replayed !== null && room.state === "catching_up") seen.replayed += 1;
  if (event.sender === client.session?.id) {
    [...$("pending").children].find((item) => item.dataset.key === event.key)?.remove();
  }
  $("messages").append(messageOf(event));
  while (isAtEnd && $("messages").childElementCount > SHOWN_AT_MOST) $("messages").firstElementChild.remove();
  $("empty").hidden = true;
  $("earlier").hidden = !(firstOffset() > 1);
  $("offset").textContent = event.offset;
  typing.delete(event.sender);
  showTyping();
  if (isAtEnd) scrollToEnd();
  if (room.state === "live") rest.stirred();
}

function messageOf({ offset, time, sender, data }) {
  const item = draw(nameOf(data, sender), sender, time, `#${offset}`, data?.text);
  if (typeof data?.text !== "string") {
    item.querySelector(".text").textContent = JSON.stringify(data);
    item.querySelector(".text").classList.add("raw");
  }
  item.dataset.offset = offset;
  return item;
}

function draw(name, sender, time, mark, text) {
  const item = $("message").content.cloneNode(true).firstElementChild;
  item.classList.add("message");
  item.classList.toggle("mine", sender === client.session?.id);
  dress(item, name, sender);
  const at = item.querySelector("time");
  at.dateTime = new Date(time).toISOString();
  at.textContent = clock.format(time);
  at.title = new Date(time).toLocaleString();
  item.querySelector(".offset").textContent = mark;
  item.querySelector(".text").textContent = text;
  return item;
}

/** Says what happened at this place of the conversation. */
function notice(text) {
  $("messages").append(listItem(text, "notice"));
}

/** Says what is not of the conversation and must not scroll away: it stays until somebody has read it. */
function tell(text) {
  $("notices").append(listItem(text, ""));
  while ($("notices").childElementCount > SHOWN_AT_MOST) $("notices").firstElementChild.remove();
  $("notice").hidden = false;
}

$("understood").addEventListener("click", () => {
  $("notices").replaceChildren();
  $("notice").hidden = true;
  $("text").focus();
});

function listItem(text, className) {
  const item = document.createElement("li");
  item.className = className;
  item.textContent = text;
  return item;
}

const firstOffset = () => Number($("messages").querySelector("[data-offset]")?.dataset.offset);

$("earlier").addEventListener("click", async () => {
  const asked = room;
  $("earlier").disabled = true;
  try {
    const { events } = await asked.history({ before: firstOffset(), limit: SHOWN_AT_FIRST, reverse: true });
    // The answer may be late: another room, or a log that began anew.
    if (asked !== room || (events[0]?.offset ?? firstOffset() - 1) !== firstOffset() - 1) return;
    const height = $("scroll").scrollHeight;
    const first = $("messages").querySelector("[data-offset]");
    first.before(...events.toReversed().map(messageOf));
    $("scroll").scrollTop += $("scroll").scrollHeight - height;
    $("earlier").hidden = events.length === 0 || firstOffset() === 1;
  } catch (error) {
    console.warn(error.message);
  } finally {
    $("earlier").disabled = false;
  }
});

/** Who reads the end stays there, also when a keyboard or the panel takes room; who reads further up is left alone. */
let isAtEnd = true;

$("scroll").addEventListener("scroll", () => {
  const { scrollTop, clientHeight, scrollHeight } = $("scroll");
  isAtEnd = scrollHeight - scrollTop - clientHeight < 80;
});
new ResizeObserver(() => isAtEnd && scrollToEnd()).observe($("scroll"));

function scrollToEnd() {
  $("scroll").scrollTop = $("scroll").scrollHeight;
}

// ---- Saying something

const moods = ["Brave", "Calm", "Drowsy", "Gentle", "Happy", "Keen", "Merry", "Nimble", "Quiet", "Sleepy", "Snug", "Swift"];
const plants = ["Acorn", "Birch", "Clover", "Daisy", "Elder", "Fern", "Hazel", "Ivy", "Linden", "Maple", "Moss", "Poppy", "Rowan", "Sorrel", "Willow"];
const anyOf = (words) => words[Math.floor(Math.random() * words.length)];

// A name that somebody typed is also for their later tabs; one that was drawn is only for this tab.
$("name").value =
  sessionStorage.getItem("dormouse.name") ?? localStorage.getItem("dormouse.name") ?? `${anyOf(moods)} ${anyOf(plants)}`;
sessionStorage.setItem("dormouse.name", $("name").value);
$("name").addEventListener("change", () => {
  const name = $("name").value.trim();
  if (name === "") return;
  for (const storage of [sessionStorage, localStorage]) storage.setItem("dormouse.name", name);
  room.presence(self()).catch((error) => console.warn(error.message));
});

/** What the roster says of this page. */
function self() {
  return { name: $("name").value.trim() };
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  const name = $("name").value.trim();
  if (text === "" || name === "") return;
  $("text").value = "";
  lastTyping = 0;
  send({ name, text });
});

$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
});

/** Shown as not sent until the event itself comes back. @param {Chat} chat */
function send(chat) {
  // The key tells our own message from others when it comes back.
  const key = Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const item = draw(chat.name, client.session?.id ?? "", Date.now(), unsentMark(), chat.text);
  item.classList.add("mine");
  item.dataset.key = key;
  $("pending").append(item);
  $("empty").hidden = true;
  scrollToEnd();
  attempt(room, chat, key, item);
}

async function attempt(to, chat, key, item) {
  item.classList.remove("failed");
  item.querySelector(".offset").textContent = unsentMark();
  try {
    await to.publish(chat, { kind: "chat", key });
  } catch (error) {
    if (to !== room) {
      tell(`You left ${shortName(to)} before the server confirmed this message: ${chat.text}`);
      return;
    }
    item.classList.add("failed");
    item.querySelector(".offset").textContent = `not sent: ${error.message}`;
    const again = document.createElement("button");
    again.type = "button";
    again.className = "again";
    again.textContent = "Send again";
    again.addEventListener("click", () => {
      again.remove();
      attempt(to, chat, key, item);
    });
    item.querySelector(".head").append(again);
  }
}

// ---- Who is typing

/** The name of who types and when to stop showing it, by session. */
const typing = new Map();
let lastTyping = 0;

$("text").addEventListener("input", () => {
  if (Date.now() - lastTyping < TYPING_SENT_MS || $("text").value === "") return;
  if (room.signal({ name: $("name").value.trim() }, { key: "typing" })) lastTyping = Date.now();
});

function isTyping(sender, data) {
  clearTimeout(typing.get(sender)?.timer);
  const timer = setTimeout(() => {
    typing.delete(sender);
    showTyping();
  }, TYPING_SHOWN_MS);
  typing.set(sender, { name: nameOf(data, sender), timer });
  showTyping();
}

function showTyping() {
  const who = [...typing.values()].map(({ name }) => name);
  const text = who.length > 3 ? `${who.length} people are typing…` : `${who.join(", ")} ${who.length === 1 ? "is" : "are"} typing…`;
  $("typing").textContent = who.length === 0 ? "" : text;
}

if (matchMedia("(max-width: 48rem)").matches) $("panel").open = false;
followAddress();
client.connect();
$("text").focus();
