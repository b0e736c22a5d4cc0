// Joins the parts of the page: pictures come in, are judged a few at a time, and are shown.

import * as api from "./api.js";
import { listenForCamera } from "./camera.js";
import { showCard, showDrift } from "./card.js";
import { byId } from "./dom.js";
import { clearGallery, showGallery, tally } from "./gallery.js";
import { listenForPictures } from "./intake.js";
import { askForKey, isKeyAsked, listenForKey } from "./key.js";
import { plural } from "./numbers.js";
import { STATES } from "./states.js";
import { showNoVerdict, showVerdict } from "./verdict.js";

// Enough to keep a service busy without standing in its queue before others.
const REQUESTS_AT_ONCE = 4;
const MOST_PICTURES = 500;

let pictures = [];
let selected = null;
let card = null;
let cardPictureUrl = null;
let requests = 0;

function take(files) {
  const room = MOST_PICTURES - pictures.length;
  const added = files.slice(0, room).map((blob) => ({
    name: blob.name || "pasted picture",
    blob,
    url: URL.createObjectURL(blob),
    state: "waiting",
  }));
  pictures.push(...added);
  if (files.length > room) announce(`The page holds ${plural(MOST_PICTURES, "picture")}; clear it for more.`);
  if (added.length) select(added[0]);
  judgeWaiting();
}

function select(picture) {
  selected = picture;
  drawPictures();
  drawVerdict();
  const panel = byId("verdict");
  // On a narrow screen the verdict lies below the tiles.
  if (panel.getBoundingClientRect().top > window.innerHeight) panel.scrollIntoView();
}

function drawPictures() {
  document.body.classList.toggle("working", selected !== null);
  showGallery(pictures, selected, select);
}

function drawVerdict() {
  if (selected) showVerdict(byId("verdict"), selected, card);
  else showNoVerdict(byId("verdict"), card);
}

function judgeWaiting() {
  while (requests < REQUESTS_AT_ONCE && !isKeyAsked()) {
    const picture = pictures.find((one) => one.state === "waiting" && !one.isSent);
    if (!picture) break;
    judge(picture);
  }
}

async function judge(picture) {
  picture.isSent = true;
  requests += 1;
  try {
    Object.assign(picture, await api.predict(picture.blob));
    picture.state = picture.verdict.decision;
  } catch (error) {
    refuse(picture, error);
  }
  requests -= 1;
  drawPictures();
  if (picture === selected) drawVerdict(); // else what is unfolded in the one that is shown would fold up
  judgeWaiting();
  if (requests === 0) finish();
}

function refuse(picture, error) {
  if (!(error instanceof api.Refusal)) throw error;
  picture.isSent = false;
  if (error.problem.status === 401) {
    askForKey(error.problem);
    return;
  }
  picture.state = "refused";
  picture.problem = error.problem;
}

/** Say what came of it, and look whether model and drift are still what they were. */
function finish() {
  if (pictures.some((one) => one.state === "waiting")) return;
  const { state, verdict, problem, name } = selected ?? {};
  if (pictures.length === 1) announce(`${name}: ${STATES[state].word}. ${verdict?.label ?? problem.detail}`);
  else if (pictures.length) announce(tally(pictures));
  loadCard();
}

function announce(sentence) {
  byId("announcement").textContent = sentence;
}

async function loadCard() {
  showState();
  try {
    const loaded = await api.model();
    const isNew = card?.guarantee?.created !== loaded.guarantee?.created || card?.model_sha256 !== loaded.model_sha256;
    card = loaded;
    if (isNew) await introduce();
    else showDrift(card.drift);
    return true;
  } catch (error) {
    if (!(error instanceof api.Refusal)) throw error;
    if (error.problem.status === 401) askForKey(error.problem);
    else byId("serving").textContent = error.problem.detail;
    return false;
  }
}

/** Show a model that this page has not shown yet. */
async function introduce() {
  byId("serving").textContent = `${card.name} ${card.version}`;
  document.title = `${card.name} – mos-guard`;
  const picture = await api.cardPicture();
  if (cardPictureUrl) URL.revokeObjectURL(cardPictureUrl);
  cardPictureUrl = picture && URL.createObjectURL(picture);
  showCard(card, cardPictureUrl);
  drawVerdict();
}

async function showState() {
  const state = byId("state");
  try {
    await api.ready();
    state.textContent = "Ready";
    state.dataset.state = "ready";
  } catch (error) {
    state.textContent = error.problem.detail;
    state.dataset.state = "not-ready";
  }
}

function clear() {
  for (const picture of pictures) URL.revokeObjectURL(picture.url);
  pictures = [];
  selected = null;
  clearGallery();
  drawPictures();
  drawVerdict();
  byId("files").focus();
}

listenForPictures(take);
listenForCamera(take);
listenForKey(loadCard, judgeWaiting);
byId("clear").addEventListener("click", clear);
drawVerdict();
loadCard();
