// Brings pictures in: dropped anywhere, pasted, or chosen.

import { byId } from "./dom.js";

/** Call *take* with the files of each drop, paste and choice. */
export function listenForPictures(take) {
  const receive = (files) => files.length && take([...files]);
  listenForDrops(receive);
  document.addEventListener("paste", (event) => receive(event.clipboardData.files));
  for (const input of [byId("files"), byId("capture")]) {
    input.addEventListener("change", () => {
      receive(input.files);
      input.value = ""; // the same file may be chosen again
    });
  }
}

function listenForDrops(receive) {
  const hover = (isOver) => document.body.classList.toggle("dropping", isOver);
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // else the browser would open the file in the place of the page
    hover(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && hover(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    hover(false);
    receive(event.dataTransfer.files);
  });
}
