// Writes numbers as people read them.

const MINUS = "\u2212";

/** A score or probability with enough digits to tell it from *other*, at least four. */
export function score(value, other = NaN) {
  let digits = 4;
  while (digits < 12 && value !== other && value.toFixed(digits) === other.toFixed(digits)) digits += 1;
  return value.toFixed(digits).replace("-", MINUS).replace(/^\u2212(0\.?0*)$/, "$1");
}

/** A fraction as percent; what is not nothing is never written as 0. */
export function percent(fraction, digits = 1) {
  const least = 10 ** -digits;
  if (fraction > 0 && 100 * fraction < least / 2) return `< ${least} %`;
  return `${trimmed((100 * fraction).toFixed(digits))} %`;
}

/** Milliseconds. */
export const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;

/** A whole number with its thousands apart. */
export const count = (value) => value.toLocaleString("en");

/** A size in bytes. */
export function bytes(value) {
  if (value < 1000) return `${value} bytes`;
  return value < 1e6 ? `${(value / 1e3).toFixed(0)} kB` : `${(value / 1e6).toFixed(1)} MB`;
}

/** "1 picture", "2 pictures". */
export const plural = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

const trimmed = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
