// What may become of a picture, in words and signs: never by colour alone.

export const STATES = {
  in: { word: "in", sign: "✓", headline: "In distribution", advice: "The model knows pictures like this one." },
  out: {
    word: "out",
    sign: "✕",
    headline: "Out of distribution",
    advice: "The model was not made for pictures like this one: do not rely on the class.",
  },
  refused: { word: "not judged", sign: "!", headline: "Not judged" },
  waiting: { word: "waiting", sign: "…", headline: "Being judged" },
};
