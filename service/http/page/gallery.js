// Shows all pictures as tiles, each with its verdict, and how many are in and out.

import { byId, el } from "./dom.js";
import { plural } from "./numbers.js";
import { preview } from "./preview.js";
import { STATES } from "./states.js";

/** Draw the tiles of *pictures*; *select* is called with the one that is asked for. */
export function showGallery(pictures, selected, select) {
  byId("gallery").hidden = pictures.length < 2;
  byId("tally").textContent = tally(pictures);
  const tiles = byId("tiles");
  pictures.forEach((picture, index) => {
    picture.tile ??= newTile(picture, select);
    if (picture.tile.dataset.state !== picture.state) {
      picture.tile.replaceChildren(...content(picture));
      picture.tile.dataset.state = picture.state;
    }
    picture.tile.setAttribute("aria-pressed", String(picture === selected));
    if (tiles.children[index] !== picture.tile.parentElement) tiles.append(picture.tile.parentElement);
  });
}

/** Take all tiles away. */
export function clearGallery() {
  byId("tiles").replaceChildren();
  byId("gallery").hidden = true;
}

/** How many of *pictures* are in, out and not judged, in words. */
export function tally(pictures) {
  const parts = Object.entries(STATES).map(([state, { word }]) => [count(pictures, state), word]);
  const told = parts.filter(([number]) => number > 0).map(([number, word]) => `${number} ${word}`);
  return `${plural(pictures.length, "picture")}: ${told.join(", ")}`;
}

const count = (pictures, state) => pictures.filter((picture) => picture.state === state).length;

function newTile(picture, select) {
  const button = el("button", { type: "button", class: "tile", click: () => select(picture) });
  el("li", {}, button);
  return button;
}

function content(picture) {
  const { state, verdict, problem } = picture;
  const label = state === "out" ? `closest: ${verdict.label}` : verdict?.label;
  picture.thumbnail ??= preview(picture, "");
  return [
    picture.thumbnail,
    el("span", { class: "badge" }, el("span", { "aria-hidden": "true" }, STATES[state].sign), ` ${STATES[state].word}`),
    " ",
    el("span", { class: "tile-label" }, label ?? problem?.title ?? ""),
    el("span", { class: "out-of-sight" }, `, ${picture.name}`),
  ];
}
