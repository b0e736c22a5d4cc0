// Talks to the service. The key is held here, in memory alone.

let key = "";

/** Send this key from now on. */
export function useKey(value) {
  key = value;
}

/** What the service answered instead of what was asked: a problem document, as it is. */
export class Refusal extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

/** Judge one encoded picture; returns its verdict and the times that the service and this page measured. */
export async function predict(picture) {
  const startedAt = performance.now();
  const headers = { "Content-Type": picture.type || "application/octet-stream" };
  const response = await ask("predict", { method: "POST", body: picture, headers });
  const verdict = await response.json();
  const times = [...serverTimes(response), ["round trip", performance.now() - startedAt]];
  return { verdict, times };
}

/** The model card. */
export const model = async () => (await ask("model")).json();

/** The calibration's picture, or null where the bundle has none. */
export async function cardPicture() {
  const response = await ask("model/card.png");
  return response.status === 204 ? null : response.blob();
}

/** Resolves where verdicts are given, and is refused with the reason where not. */
export const ready = () => ask("health/ready");

async function ask(path, { headers = {}, ...options } = {}) {
  const keyed = key ? { ...headers, "X-API-Key": key } : headers;
  let response;
  try {
    response = await fetch(path, { ...options, headers: keyed, cache: "no-store" });
  } catch {
    throw new Refusal({
      title: "No answer",
      detail: "The service cannot be reached, or the file cannot be read.",
      code: "no_answer",
    });
  }
  if (!response.ok) throw new Refusal(await problemOf(response));
  return response;
}

async function problemOf(response) {
  if (response.headers.get("Content-Type")?.startsWith("application/problem+json")) return response.json();
  return {
    status: response.status,
    title: response.statusText || "Refused",
    detail: "Something between this page and the service answered in its place.",
    code: "not_the_service",
  };
}

/** "decode;dur=1.2, queue;dur=0.1" as pairs of a name and milliseconds. */
function serverTimes(response) {
  const entries = (response.headers.get("Server-Timing") ?? "").split(",").map((entry) => entry.trim().split(";dur="));
  return entries.filter((entry) => entry.length === 2).map(([name, duration]) => [name, Number(duration)]);
}
