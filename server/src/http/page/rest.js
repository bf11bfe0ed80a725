// Whether the room sleeps: asks the server every second while somebody looks. Asking wakes nothing. Only the server's address for
// operators answers; at the other one nothing is shown.

const EVERY_MS = 1_000;
/** What lasts less than a millisecond is not shown for a second. */
const AGAIN_MS = 100;
const BRIEF = ["waking", "falling_asleep"];
const WAKE_SHOWN_MS = 3_000;
/** The answer's clock has seconds only; a smaller difference is none. */
const CLOCK_SLACK_MS = 2_000;

const $ = (id) => document.getElementById(id);

/** Follows the object that `nameNow` names; null for none. */
export function watchRest(nameNow) {
  let shown = null;
  let asking = null;
  let isAnswered = true;

  const show = (name, status, now) => {
    shown = name;
    const [text, more] = status ? textsOf(status, now) : ["", ""];
    $("rest").hidden = text === "";
    $("rest").dataset.state = status?.state ?? "";
    $("rest").title = status ? historyOf(status) : "";
    $("rest-text").textContent = text;
    $("rest-more").textContent = more;
    $("wakes").textContent = status ? wakesOf(status) : "–";
  };

  const look = async () => {
    const name = nameNow();
    if (name !== shown) show(name, null);
    if (!isAnswered || name === null || name === asking || document.visibilityState !== "visible") return;
    asking = name;
    let answer = null;
    try {
      answer = await ask(name);
      isAnswered = answer !== undefined;
    } catch {
      // Without an answer there is nothing to show; the next second asks again.
    }
    if (asking === name) asking = null;
    if (nameNow() === name) show(name, answer?.status ?? null, answer?.now);
    if (BRIEF.includes(answer?.status?.state)) setTimeout(look, AGAIN_MS);
  };

  setInterval(look, EVERY_MS);
  document.addEventListener("visibilitychange", look);
  return {
    /** Looks at once. */
    look,
    /** Something happened in the room: it can't be asleep. */
    stirred() {
      if ($("rest").dataset.state !== "awake") look();
    },
  };
}

/** Null where the server knows nothing of the object; undefined where it answers no such questions. */
async function ask(name) {
  const [kind, room] = name.split("/");
  const reply = await fetch(`/v1/objects/${kind}/${encodeURIComponent(room)}`, { signal: AbortSignal.timeout(5_000) });
  if (!reply.headers.get("content-type")?.startsWith("application/json")) return undefined;
  if (!reply.ok) return null;
  const ahead = Date.parse(reply.headers.get("date") ?? "") - Date.now();
  const now = Date.now() + (Math.abs(ahead) > CLOCK_SLACK_MS ? ahead : 0);
  return { status: await reply.json(), now };
}

/** What matters most, and what a narrow screen leaves out. */
function textsOf({ state, sleeps_at, last_wake, connections_at_rest }, now) {
  switch (state) {
    case "asleep":
      return ["asleep", connections_at_rest > 0 ? ` · ${countOf(connections_at_rest, "member")} at rest` : ""];
    case "waking":
      return ["waking up", ""];
    case "falling_asleep":
      return ["falling asleep", ""];
    case "awake": {
      if (last_wake && now - last_wake.at < WAKE_SHOWN_MS) return [`woke in ${durationOf(last_wake.took_us)}`, ""];
      const left = Math.ceil((sleeps_at - now) / 1_000);
      return ["awake", sleeps_at !== null && left > 0 ? ` · falls asleep in ${left} s` : ""];
    }
    default:
      return ["", ""];
  }
}

function historyOf({ last_wake }) {
  if (!last_wake) return "A room that nobody talks to sleeps. It was not woken yet.";
  return `Woken by ${last_wake.cause} in ${durationOf(last_wake.took_us)}, at ${new Date(last_wake.at).toLocaleTimeString()}`;
}

function wakesOf({ wakes, last_wake }) {
  return last_wake ? `${wakes}, the last in ${durationOf(last_wake.took_us)}` : String(wakes);
}

const durationOf = (us) => (us < 1_000 ? `${us} µs` : `${(us / 1_000).toFixed(1)} ms`);
const countOf = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
