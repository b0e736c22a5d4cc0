// Draws where a score lies on the distribution of the calibration scores, with the threshold.

import { el, styled, svg } from "./dom.js";
import { count, score as written } from "./numbers.js";

const BINS = 48;
// Beyond the calibration scores a score may widen the axis by so much of their range; further out it stands at the edge.
const MOST_WIDENING = 0.5;

/** Return a figure of the *reference* scores and the *threshold*; *score* is null where there is no picture. */
export function distribution(reference, threshold, score) {
  const axis = axisOf(reference, threshold, score);
  const place = (value) => Math.min(100, Math.max(0, (100 * (value - axis.low)) / (axis.high - axis.low)));
  return el(
    "figure",
    { class: "distribution" },
    el(
      "div",
      { class: "plot", role: "img", "aria-label": inWords(reference, threshold, score) },
      score === null ? null : mark("score", place(score), `this picture ${written(score, threshold)}`),
      histogram(reference, threshold, axis),
      mark("threshold", place(threshold), `threshold ${written(threshold, score ?? NaN)}`),
    ),
    el("figcaption", { class: "note" }, ...legend(reference)),
  );
}

function axisOf({ scores }, threshold, score) {
  const low = Math.min(scores[0], threshold);
  const high = Math.max(scores.at(-1), threshold);
  const range = high - low || 1;
  const widest = [low - MOST_WIDENING * range, high + MOST_WIDENING * range];
  const shown = score === null ? threshold : Math.min(widest[1], Math.max(widest[0], score));
  const margin = 0.02 * range;
  return { low: Math.min(low, shown) - margin, high: Math.max(high, shown) + margin };
}

/** The share of calibration pictures with a score of at most *value*, linear between the scores that are known. */
function shareUpTo({ ranks, scores }, value) {
  const n = ranks.at(-1);
  const above = scores.findIndex((known) => known > value);
  if (above === -1) return 1;
  if (above === 0) return 0;
  const part = (value - scores[above - 1]) / (scores[above] - scores[above - 1]);
  return (ranks[above - 1] + part * (ranks[above] - ranks[above - 1])) / n;
}

/** Bars of equal width, parted at the threshold; the height of a bar is the square root of its density. */
function histogram(reference, threshold, axis) {
  const step = (axis.high - axis.low) / BINS;
  const edges = Array.from({ length: BINS + 1 }, (_, index) => axis.low + index * step);
  edges.push(threshold);
  edges.sort((a, b) => a - b);
  const bars = edges.slice(1).map((right, index) => ({ left: edges[index], right }));
  for (const bar of bars) {
    const width = bar.right - bar.left;
    // A score equal to the threshold is in: of a bar that ends there it belongs to the next one, too thin to see.
    bar.root = width > 0 ? Math.sqrt((shareUpTo(reference, bar.right) - shareUpTo(reference, bar.left)) / width) : 0;
  }
  const highest = Math.max(...bars.map((bar) => bar.root));
  const unit = 100 / (axis.high - axis.low);
  return svg(
    "svg",
    { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
    bars.map(({ left, right, root }) =>
      svg("rect", {
        class: left >= threshold ? "kept" : "turned-away",
        x: (left - axis.low) * unit,
        width: Math.max(0, right - left) * unit,
        y: 100 - (100 * root) / highest,
        height: (100 * root) / highest,
      }),
    ),
  );
}

/** A line at *percent* of the width, with a label that never leaves the plot. */
function mark(kind, percent, label) {
  return styled(el("div", { class: `mark ${kind}` }, el("span", {}, label)), "--at", percent);
}

function legend({ ranks, scores }) {
  const range = `${written(scores[0])} to ${written(scores.at(-1))}`;
  return [
    el("span", { class: "swatch turned-away" }, "below the threshold: out"),
    el("span", { class: "swatch kept" }, "from it on: in"),
    `Scores of the ${count(ranks.at(-1))} calibration pictures, ${range}; heights on a square-root scale.`,
  ];
}

function inWords(reference, threshold, score) {
  const line = `The threshold is ${written(threshold, score ?? NaN)}.`;
  if (score === null) return `The distribution of the calibration scores. ${line}`;
  const side = score >= threshold ? "not below" : "below";
  return `The score of this picture, ${written(score, threshold)}, is ${side} the threshold. ${line}`;
}
