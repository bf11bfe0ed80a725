// Who is in the room: a chip for each user, and how many they are.
import { dress, nameOf } from "./look.js";

const SHOWN_AT_MOST = 12;
/** More are shown without their names. */
const NAMED_AT_MOST = 4;

const $ = (id) => document.getElementById(id);

/** Shows the roster of a room; `self` is the session of this page. */
export function showPeople({ roster }, self) {
  const users = new Map();
  for (const { user, data } of roster.members.values()) {
    const known = users.get(user);
    if (known) known.tabs += 1;
    else users.set(user, { user, name: nameOf(data, user), tabs: 1 });
  }
  const first = [...users.values()].sort((a, b) => (b.user === self) - (a.user === self)).slice(0, SHOWN_AT_MOST);
  $("people").replaceChildren(...first.map((person) => chip(person, self)));
  $("people").classList.toggle("crowd", first.length > NAMED_AT_MOST);
  $("here").textContent = roster.version === null ? "" : `${roster.users} here`;
}

function chip({ user, name, tabs }, self) {
  const item = $("person").content.cloneNode(true).firstElementChild;
  dress(item, name, user);
  item.classList.toggle("mine", user === self);
  item.title = `${name}${user === self ? " (you)" : ""}${tabs > 1 ? `, in ${tabs} tabs` : ""}`;
  return item;
}
