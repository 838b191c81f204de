// @ts-check
// What follows from the measured surfaces without Python. Accuracies are in [0, 1], ε in 1/255.
/** @import { LamPoint, Point, Surface } from "./types.js" */

/**
 * The 95 % Wilson interval of an accuracy.
 * @param {number} accuracy
 * @param {number} n number of images
 * @returns {[low: number, high: number]}
 */
export function wilson(accuracy, n) {
  const z2 = 1.96 * 1.96;
  const centre = (accuracy + z2 / (2 * n)) / (1 + z2 / n);
  const variance = (accuracy * (1 - accuracy)) / n + z2 / (4 * n * n);
  const half = (1.96 / (1 + z2 / n)) * Math.sqrt(variance);
  return [
    Math.max(0, Math.min(accuracy, centre - half)),
    Math.min(1, Math.max(accuracy, centre + half)),
  ];
}

/**
 * Interpolate linearly between the nearest measured points on both sides of x. Return null if
 * there is no measured point on one side.
 * @param {number[]} xs ascending
 * @param {(number | null)[]} ys null: not measured
 * @param {number} x
 * @returns {number | null}
 */
export function interpolate(xs, ys, x) {
  /** @type {{ x: number, y: number } | null} */
  let below = null;
  /** @type {{ x: number, y: number } | null} */
  let above = null;
  for (const [i, at] of xs.entries()) {
    const y = ys[i] ?? null;
    if (y === null) continue;
    if (at <= x + 1e-12) below = { x: at, y };
    if (at >= x - 1e-12 && !above) above = { x: at, y };
  }
  if (!below || !above) return null;
  if (below.x >= above.x) return above.y;
  return below.y + ((x - below.x) / (above.x - below.x)) * (above.y - below.y);
}

/**
 * The index of the element that is nearest to a value.
 * @param {number[]} list
 * @param {number} value
 */
export function nearest(list, value) {
  let best = 0;
  for (const [i, one] of list.entries())
    if (Math.abs(one - value) < Math.abs(list[best] - value)) best = i;
  return best;
}

/**
 * The robust accuracies along λ at one width and ε. They come from the strongest attack that has
 * measured all of them, else from the one that has measured most.
 * @param {Surface} surface
 * @param {number} w index of the width
 * @param {number} e index of ε
 */
function bestRow(surface, w, e) {
  const rows = surface.order.map((attack) => {
    const row = surface.robust[attack][w][e];
    return { attack, row, known: row.filter((accuracy) => accuracy !== null).length };
  });
  const complete = rows.find((one) => one.known === surface.lams.length);
  return complete ?? rows.reduce((best, one) => (one.known > best.known ? one : best));
}

/**
 * Clean and robust accuracy at any position of the dials, each null where too little is measured.
 * @param {Surface} surface
 * @param {number} lam
 * @param {number} width
 * @param {number} eps
 * @param {string | null} attack use the numbers of this attack only
 */
export function estimate(surface, lam, width, eps, attack = null) {
  const w = nearest(surface.widths, width);
  const robust = surface.eps.map((_, e) => {
    const row = attack ? surface.robust[attack][w][e] : bestRow(surface, w, e).row;
    return interpolate(surface.lams, row, lam);
  });
  return {
    clean: interpolate(surface.lams, surface.clean[w], lam),
    robust: interpolate(surface.eps, robust, eps),
  };
}

/**
 * The attack of the curve at one width and ε. Between two measured ε it is the weaker of their
 * attacks. At ε = 0 there is none.
 * @param {Surface} surface
 * @param {number} width
 * @param {number} eps
 * @returns {string | null}
 */
export function curveAttack(surface, width, eps) {
  const w = nearest(surface.widths, width);
  const below = surface.eps.findLastIndex((at) => at <= eps);
  const above = surface.eps.findIndex((at) => at >= eps);
  const attacked = [below, above].filter((e) => surface.eps[e] > 0);
  if (!attacked.length) return null;
  const ranks = attacked.map((e) => surface.order.indexOf(bestRow(surface, w, e).attack));
  return surface.order[Math.max(...ranks)];
}

/**
 * The measured points of one width at one ε, along λ.
 * @param {Surface} surface
 * @param {number} width
 * @param {number} eps
 * @param {string | null} attack use the numbers of this attack only
 */
export function frontier(surface, width, eps, attack = null) {
  /** @type {LamPoint[]} */
  const points = [];
  for (const lam of surface.lams) {
    const { clean, robust } = estimate(surface, lam, width, eps, attack);
    if (clean !== null && robust !== null) points.push({ lam, clean, robust });
  }
  return points;
}

/**
 * The two ends of a curve of `frontier`, between which a coin can be tossed. Return null unless
 * both are measured and differ.
 * @param {Surface} surface
 * @param {LamPoint[]} points
 * @returns {[LamPoint, LamPoint] | null}
 */
export function coinEnds(surface, points) {
  if (points.length < 2) return null;
  const first = points[0];
  const last = points[points.length - 1];
  const complete = first.lam === surface.lams[0] && last.lam === surface.lams.at(-1);
  return complete && first.clean > last.clean ? [first, last] : null;
}

/**
 * Robust accuracy of the coin with a given clean accuracy. The coin uses one of the two ends at
 * random for each image.
 * @param {[Point, Point] | null} ends
 * @param {number} clean
 * @returns {number | null}
 */
export function coinRobustness(ends, clean) {
  if (!ends || clean > ends[0].clean || clean < ends[1].clean) return null;
  const probability = (ends[0].clean - clean) / (ends[0].clean - ends[1].clean);
  return ends[0].robust + probability * (ends[1].robust - ends[0].robust);
}

/**
 * λ at a position of the slider, where equal moves are equal moves along the frontier.
 * @param {number[]} slider λ at evenly spaced positions
 * @param {number} position in [0, 1]
 */
export function lamAt(slider, position) {
  const at = position * (slider.length - 1);
  const left = Math.min(Math.floor(at), slider.length - 2);
  return slider[left] + (at - left) * (slider[left + 1] - slider[left]);
}

/**
 * The position of λ on the slider, in [0, 1].
 * @param {number[]} slider λ at evenly spaced positions
 * @param {number} lam
 */
export function positionOf(slider, lam) {
  const last = slider.length - 1;
  for (let i = 0; i < last; i++) {
    if (lam > slider[i + 1]) continue;
    const gap = slider[i + 1] - slider[i] || 1;
    return (i + (lam - slider[i]) / gap) / last;
  }
  return 1;
}
