// A table whose second column is drawn as bars; of many rows the first are shown and the rest on demand.

import { el, styled } from "./dom.js";

const FIRST_ROWS = 10;

/**
 * Return a table of *rows* of {name, value, text}, each value a fraction.
 *
 * *line* is a fraction at which each bar is marked, or null; *noun* is what there are many of.
 */
export function barTable({ caption, heads, rows, line = null, noun }) {
  const body = el("tbody", {}, rows.slice(0, FIRST_ROWS).map(bar));
  const table = el(
    "table",
    { class: line === null ? "bars" : "bars lined" },
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    body,
  );
  if (line !== null) styled(table, "--line", line);
  return el("div", {}, table, rows.length > FIRST_ROWS ? toggle(rows, body, noun) : null);
}

function bar({ name, value, text }) {
  const drawn = styled(el("span", { class: "bar", "aria-hidden": "true" }, el("span")), "--value", value);
  return el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, drawn, el("span", { class: "number" }, text)));
}

function toggle(rows, body, noun) {
  const all = `Show all ${rows.length} ${noun}`;
  const button = el("button", { type: "button", class: "button quiet", "aria-expanded": "false" }, all);
  button.addEventListener("click", () => {
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    button.textContent = isOpen ? all : `Show the first ${FIRST_ROWS}`;
    body.replaceChildren(...(isOpen ? rows.slice(0, FIRST_ROWS) : rows).map(bar));
  });
  return button;
}
