// Shows one picture: in or out, why, and everything that the answer says.

import { barTable } from "./bars.js";
import { distribution } from "./distribution.js";
import { el } from "./dom.js";
import { bytes, milliseconds, percent, score as written } from "./numbers.js";
import { preview } from "./preview.js";
import { STATES } from "./states.js";

/** Draw *picture* into *panel*; *card* is the model card. */
export function showVerdict(panel, picture, card) {
  panel.dataset.state = picture.state;
  const parts = { in: judged, out: judged, refused, waiting: () => [] }[picture.state](picture, card);
  panel.replaceChildren(headline(picture), head(picture), ...parts);
}

/** Draw what there is before the first picture. */
export function showNoVerdict(panel, card) {
  panel.dataset.state = "none";
  const reference = card?.guarantee?.reference;
  panel.replaceChildren(
    el("h2", { id: "verdict-title" }, "No picture yet"),
    el("p", {}, "Each picture gets a score. One whose score is not below the threshold is in, and its class may be believed as far as the model's accuracy goes; any other is out: do not rely on its class."),
    ...(reference ? [distribution(reference, card.threshold, null)] : []),
  );
}

function headline({ state }) {
  const { sign, headline: words } = STATES[state];
  return el("h2", { id: "verdict-title", class: "headline" }, el("span", { class: "sign", "aria-hidden": "true" }, sign), words);
}

function head(picture) {
  return el(
    "div",
    { class: "verdict-head" },
    preview(picture, `The picture ${picture.name}`, "picture"),
    el(
      "div",
      {},
      ...(picture.verdict ? statement(picture.verdict) : []),
      el("p", { class: "note" }, `${picture.name}, ${bytes(picture.blob.size)}`),
    ),
  );
}

function statement(verdict) {
  const lead = verdict.decision === "in" ? "" : "closest class: ";
  return [
    el(
      "p",
      { class: "class" },
      lead,
      el("strong", {}, verdict.label),
      el("span", { class: "class-note" }, ` ${percent(verdict.probability)}, in ${verdict.group}`),
    ),
    el("p", { class: "advice" }, STATES[verdict.decision].advice),
    el("p", { class: "why" }, why(verdict)),
  ];
}

function why({ decision, score, threshold, p_value, decided_by }) {
  const side = decision === "in" ? (score === threshold ? "at" : "above") : "below";
  const values = `${written(score, threshold)} is ${side} the threshold ${written(threshold, score)}`;
  return `The score (${decided_by}) ${values}. Of the calibration pictures at most ${share(p_value)} scored no higher (p\u2011value ${written(p_value)}).`;
}

const share = (fraction) => percent(fraction, fraction < 0.01 ? 2 : 1);

function judged({ verdict, times }, card) {
  const reference = card?.guarantee?.reference;
  return [
    reference ? distribution(reference, verdict.threshold, verdict.score) : null,
    el("div", { class: "columns" }, others(verdict), topClasses(verdict)),
    el(
      "dl",
      { class: "facts" },
      times.map(([name, duration]) => fact(name, milliseconds(duration))),
      fact("model", `${verdict.model} ${verdict.version}`),
      fact("request", verdict.request_id),
    ),
    asJson("The answer as JSON", verdict),
  ].filter((part) => part !== null);
}

function others({ others_scores, decided_by, threshold }) {
  const closest = Object.entries(others_scores).sort(([, a], [, b]) => a - b);
  const isLined = decided_by === "mos";
  return barTable({
    caption: isLined
      ? "Others scores: each group's belief that the picture is of none of its classes. In if the first ends before the line."
      : "Others scores: each group's belief that the picture is of none of its classes.",
    heads: ["Group, closest first", "Others score"],
    rows: closest.map(([name, value]) => ({ name, value, text: value.toFixed(4) })),
    line: isLined ? -threshold : null,
    noun: "groups",
  });
}

function topClasses({ top }) {
  return barTable({
    caption: "The most probable classes, were the picture of one of them.",
    heads: ["Class", "Probability"],
    rows: top.map(({ label, probability }) => ({ name: label, value: probability, text: percent(probability) })),
    noun: "classes",
  });
}

function refused({ problem }) {
  return [
    el("p", { class: "problem" }, el("strong", {}, problem.title), ` ${problem.detail}`),
    asJson("The answer as JSON", problem),
  ];
}

const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

/** A document, to unfold. */
export function asJson(title, document) {
  return el("details", {}, el("summary", {}, title), el("pre", {}, JSON.stringify(document, null, 2)));
}
