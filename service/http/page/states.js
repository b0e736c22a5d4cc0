// What may become of a picture, in words and signs: never by colour alone.

export const STATES = {
  in: {
    word: "in",
    sign: "✓",
    headline: "In distribution",
    advice: "Its score is that of a picture of what the model was made for.",
  },
  out: {
    word: "out",
    sign: "✕",
    headline: "Out of distribution",
    advice: "Its score is too low for a picture of what the model was made for: do not rely on the class.",
  },
  refused: { word: "not judged", sign: "!", headline: "Not judged" },
  waiting: { word: "waiting", sign: "…", headline: "Being judged" },
};
