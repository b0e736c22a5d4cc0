// Shows a picture as the browser decodes it, which may be none, whatever the service can read.

import { el } from "./dom.js";

/** Return an image of *picture*. */
export function preview(picture, alternative, name = "thumbnail") {
  const hide = (event) => event.target.classList.add("unreadable");
  return el("img", { class: name, src: picture.url, alt: alternative, decoding: "async", error: hide });
}
