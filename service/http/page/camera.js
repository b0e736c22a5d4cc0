// Takes a picture with the camera: in a dialog where the browser lets a page see it, else with the device's own app.

import { byId } from "./dom.js";

const JPEG_QUALITY = 0.92;

/** Call *take* with each picture taken. */
export function listenForCamera(take) {
  const dialog = byId("camera");
  // Browsers show a camera to pages of a secure origin alone.
  byId("camera-open").addEventListener("click", () =>
    navigator.mediaDevices?.getUserMedia ? open(dialog) : byId("capture").click(),
  );
  byId("camera-close").addEventListener("click", () => dialog.close());
  byId("camera-shoot").addEventListener("click", async () => {
    take([await shoot(byId("viewfinder"))]);
    dialog.close();
  });
  dialog.addEventListener("close", () => turnOff(byId("viewfinder")));
}

async function open(dialog) {
  const video = byId("viewfinder");
  byId("camera-problem").textContent = "";
  byId("camera-shoot").disabled = true;
  dialog.showModal();
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    await video.play();
    byId("camera-shoot").disabled = false;
  } catch (error) {
    byId("camera-problem").textContent = `The camera cannot be used: ${error.message}.`;
  }
  if (!dialog.open) turnOff(video); // closed while the browser was asking
}

async function shoot(video) {
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: JPEG_QUALITY });
  return new File([blob], "camera.jpg", { type: blob.type });
}

function turnOff(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}
