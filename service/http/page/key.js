// Asks for one of the service's keys, where it wants one.

import { useKey } from "./api.js";
import { byId } from "./dom.js";

let isAsked = false;

/** Whether nothing can be judged until a key is given. */
export const isKeyAsked = () => isAsked;

/** Ask, because the service answered *problem*. */
export function askForKey(problem) {
  const field = byId("key-field");
  isAsked = true;
  byId("key").hidden = false;
  // Nothing is wrong until a key was given.
  byId("key-problem").textContent = field.value ? `${problem.title}: the service does not know it.` : "";
  field.focus();
}

/** Try each key that is typed: *opens* says whether it was the right one, and *go* is called where it was. */
export function listenForKey(opens, go) {
  byId("key").addEventListener("submit", async (event) => {
    event.preventDefault();
    useKey(byId("key-field").value.trim());
    if (!(await opens())) return;
    isAsked = false;
    byId("key").hidden = true;
    byId("key-field").value = "";
    go();
  });
}
