// The model card: what is served, what the threshold promises and lets in, and whether pictures drift.

import { byId, el } from "./dom.js";
import { count, percent, plural, score as written } from "./numbers.js";
import { asJson } from "./verdict.js";

// As the bundle's own card words them.
const PROMISES = {
  certified: (tpr, confidence) => `at least ${tpr} of later pictures like them are accepted, with ${confidence} confidence`,
  conformal: (tpr) => `${tpr} of later pictures like them are accepted on average over calibrations`,
  quantile: (tpr) => `${tpr} of the calibration pictures are accepted, and nothing is promised of later ones`,
};
const DRIFT_TESTS = { rejects: "Share of pictures that are out", p_values: "Distribution of the scores" };

/** Draw where the drift tests stand now, beside a card that is drawn already. */
export function showDrift(tests) {
  byId("drift").replaceWith(drift(tests));
}

/** Draw *card*, with *picture*, the address of the calibration's picture or null. */
export function showCard(card, picture) {
  const section = byId("card");
  section.hidden = false;
  section.replaceChildren(
    el("h2", { id: "card-title" }, "The model and its promise"),
    el("p", { class: "promise" }, promise(card)),
    el("div", { class: "columns" }, facts(card), drift(card.drift)),
    ...(card.guarantee ? [operatingPoints(card)] : []),
    ...(picture ? [calibrationPicture(picture)] : []),
    asJson("All that GET /model tells", card),
  );
}

function promise({ threshold, guarantee }) {
  if (guarantee === null) {
    return "This bundle is not calibrated: there is no threshold, and no verdict is given. Run mos-guard calibrate on it.";
  }
  const { tpr, confidence, method, n, k, tpr_interval, group_thresholds } = guarantee;
  const words = PROMISES[method]?.(percent(tpr), percent(confidence));
  const set = `The threshold ${written(threshold)} is rank ${k} from the lowest of ${plural(n, "calibration picture")}: `;
  const promised = words ?? `set for a TPR of ${percent(tpr)} (${method})`;
  const interval = `the true share lies between ${percent(tpr_interval[0])} and ${percent(tpr_interval[1])}`;
  const own = group_thresholds.length ? ` ${plural(group_thresholds.length, "predicted group")} have thresholds of their own.` : "";
  return `${set}${promised}; ${interval}.${own}`;
}

function facts(card) {
  const { input, decision, classes, groups } = card;
  const rows = [
    ["Model", `${card.name} ${card.version}`],
    ["Decided by", decision.statistic],
    ["Classes", `${count(classes.length)} in ${plural(groups.length, "group")}`],
    ["Input", `${input.width} × ${input.height} pixels`],
    ["Backbone", `${card.backbone}, ${card.precision}`],
    ["Runs on", card.provider],
    ["Made", date(card.created)],
    ["Calibrated", card.guarantee ? date(card.guarantee.created) : "never"],
  ];
  return el("dl", { class: "list" }, rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

const date = (text) => `${text.slice(0, 10)} ${text.slice(11, 16)} UTC`;

function drift(tests) {
  if (tests === null) return el("div", { id: "drift" }, el("h3", {}, "Drift"), el("p", {}, "Not watched without a calibration."));
  const alarms = Object.entries(tests.tests).filter(([, test]) => test.alarm);
  const summary = alarms.length
    ? "Alarm: what comes in is no longer like the calibration pictures, and the promise does not hold for it."
    : "No alarm: nothing speaks against the promise so far.";
  return el(
    "div",
    { id: "drift" },
    el("h3", {}, "Drift"),
    el("p", { class: alarms.length ? "problem" : "" }, `${summary} ${plural(tests.images, "picture")} seen.`),
    el(
      "dl",
      { class: "list" },
      Object.entries(tests.tests).map(([kind, { statistic, limit, alarm }]) =>
        el(
          "div",
          {},
          el("dt", {}, DRIFT_TESTS[kind] ?? kind),
          el("dd", {}, `${alarm ? "alarm" : "quiet"}, ${statistic.toFixed(1)} of ${limit.toFixed(1)}`),
        ),
      ),
    ),
  );
}

function operatingPoints({ guarantee }) {
  const { operating_points: points, strangers, tpr } = guarantee;
  if (points.length === 0) return el("p", { class: "note" }, "What gets in is not known: the calibration was given no foreign pictures.");
  const sets = Object.keys(strangers?.sets ?? {});
  const heads = ["Own accepted", "Threshold", "Accuracy on accepted", ...sets.map((name) => `${name} let in`)];
  const row = (point) =>
    el(
      "tr",
      point.tpr === tpr ? { class: "chosen" } : {},
      el("th", { scope: "row" }, `≥ ${percent(point.tpr)}${point.tpr === tpr ? " (in force)" : ""}`),
      el("td", {}, written(point.threshold)),
      el("td", {}, point.accuracy_on_accepted === null ? "not known" : percent(point.accuracy_on_accepted)),
      sets.map((name) => el("td", {}, letIn(point.strangers[name].scaled))),
    );
  return el(
    "div",
    { class: "wide", role: "region", "aria-label": "Operating points", tabindex: "0" },
    el(
      "table",
      { class: "points" },
      el("caption", {}, "Operating points: what each threshold would accept of one's own pictures and let in of foreign ones, with exact intervals"),
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, points.toSorted((a, b) => b.tpr - a.tpr).map(row)),
    ),
  );
}

const letIn = ({ share, interval }) =>
  `${percent(share)} [${percent(interval[0]).replace(" %", "")}, ${percent(interval[1]).replace(" %", "")}]`;

function calibrationPicture(address) {
  return el(
    "details",
    { open: "" },
    el("summary", {}, "Scores of own and foreign pictures"),
    el("img", { class: "calibration", src: address, alt: "Histograms of the scores of the calibration pictures and of each foreign set, with the thresholds of the operating points; the table above has their shares." }),
  );
}
