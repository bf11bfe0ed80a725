// Who is in the room: a chip for each user, and how many they are.
import { dress, nameOf } from "./look.js";

const SHOWN_AT_MOST = 12;
/** More are shown without their names. */
const NAMED_AT_MOST = 4;
/** Who reloads a page leaves and comes back: for so long nobody is shown as gone. */
const LINGER_MS = 1_500;

const $ = (id) => document.getElementById(id);

let shownRoom;
/** Who was here when last looked at, by user. */
let people = new Map();
/** The timers of those who left and are still shown, by user. */
const leaving = new Map();
const chips = new Map();

/** Shows the roster of a room; `self` is the session of this page. */
export function showPeople(room, self) {
  if (room !== shownRoom) {
    for (const timer of leaving.values()) clearTimeout(timer);
    for (const known of [people, leaving, chips]) known.clear();
    shownRoom = room;
  }
  const here = usersOf(room.roster);
  for (const user of here.keys()) {
    clearTimeout(leaving.get(user));
    leaving.delete(user);
  }
  for (const [user, person] of people) {
    if (here.has(user)) continue;
    here.set(user, person);
    if (!leaving.has(user)) leaving.set(user, setTimeout(() => gone(user, room, self), LINGER_MS));
  }
  people = here;
  draw(self);
  $("here").textContent = room.roster.version === null ? "" : `${room.roster.users + leaving.size} here`;
}

function usersOf({ members }) {
  const users = new Map();
  for (const { user, data } of members.values()) {
    const known = users.get(user);
    if (known) known.tabs += 1;
    else users.set(user, { user, name: nameOf(data, user), tabs: 1 });
  }
  return users;
}

function gone(user, room, self) {
  for (const known of [people, leaving, chips]) known.delete(user);
  showPeople(room, self);
}

/** What stays is left where it is: an element that is moved begins its animation anew. */
function draw(self) {
  const first = [...people.values()].sort((a, b) => (b.user === self) - (a.user === self)).slice(0, SHOWN_AT_MOST);
  const items = first.map((person) => chip(person, self));
  const list = $("people");
  for (const item of list.querySelectorAll("li")) if (!items.includes(item)) item.remove();
  items.forEach((item, index) => {
    if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
  });
  list.classList.toggle("crowd", items.length > NAMED_AT_MOST);
}

/** The chip of before where there was one. */
function chip({ user, name, tabs }, self) {
  const item = chips.get(user) ?? $("person").content.cloneNode(true).firstElementChild;
  chips.set(user, item);
  dress(item, name, user);
  item.classList.toggle("mine", user === self);
  item.classList.toggle("leaving", leaving.has(user));
  item.title = `${name}${user === self ? " (you)" : ""}${tabs > 1 ? `, in ${tabs} tabs` : ""}`;
  return item;
}
