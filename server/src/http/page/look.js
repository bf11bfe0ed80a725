// How somebody looks on the page: the same in the conversation and among those who are here.

/** What somebody calls themselves, or the start of their session. */
export function nameOf(data, user) {
  const name = typeof data?.name === "string" ? data.name.trim().slice(0, 40) : "";
  return name || user.slice(0, 6) || "?";
}

/** Fills the template of an avatar's owner: the letter, the colour, the name. */
export function dress(element, name, user) {
  let hash = 0;
  for (const char of user) hash = (hash * 31 + char.codePointAt(0)) % 360;
  element.style.setProperty("--hue", hash);
  element.querySelector(".avatar").textContent = [...name][0].toUpperCase();
  element.querySelector(".who").textContent = name;
}
