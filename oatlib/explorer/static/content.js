// @ts-check
// What the plot shows: curves, points, and the maps from accuracies to pixels.
/** @import { Box } from "./labels.js" */
/** @import { Description, LamPoint, Point, Reading, State, Surface, View } from "./types.js" */
import { coinEnds, frontier, interpolate } from "./curves.js";
import { isUnderWay } from "./reading.js";

const HARD = 0.85; // images that no network classifies better than this, without an attack

/**
 * The curve of a network at one width.
 * @typedef {object} Curve
 * @property {string} name of the network
 * @property {number} width
 * @property {boolean} main whether it is the curve of the current setting
 * @property {boolean} other whether it is of a network that the current one is compared with
 * @property {LamPoint[]} points
 *
 * A line that the current network is compared with. Points that are `open` are drawn as squares.
 * @typedef {{ kind: string, text: string, points: Point[], open: boolean }} Comparison
 *
 * @typedef {{ name: string, lam: number, clean: number, robust: number }} Mark
 *
 * All that the plot shows, except the current setting.
 * @typedef {object} Content
 * @property {Curve[]} curves the last one is the main curve
 * @property {Comparison[]} comparisons
 * @property {Mark[]} marks
 * @property {{ points: Point[] }[]} trained frontiers of the training, oldest first
 *
 * The maps from accuracies to pixels, inside a box.
 * @typedef {object} Scales
 * @property {Box} box
 * @property {(clean: number) => number} x
 * @property {(robust: number) => number} y
 * @property {number} low smallest clean accuracy
 * @property {number} end largest clean accuracy
 * @property {number} high largest robust accuracy
 * @property {number} gap of the vertical grid lines
 */

/**
 * @param {View} view
 * @returns {Content}
 */
export function contentOf({ description, state, surfaces, surface, training }) {
  const curves = curvesOf(description, state, surfaces);
  const main = curves[curves.length - 1];
  const isShown = isUnderWay(training) || training?.name === state.network;
  return {
    curves,
    comparisons: comparisonsOf(description, state, surface, main.points),
    marks: marksOf(description, state),
    trained: (isShown && training?.frontiers) || [],
  };
}

/**
 * @param {Description} description
 * @param {State} state
 * @param {Record<string, Surface>} surfaces
 * @returns {Curve[]}
 */
function curvesOf({ networks }, state, surfaces) {
  /** @type {(name: string, width: number, kind: "main" | "other" | "width") => Curve} */
  const curve = (name, width, kind) => ({
    name,
    width,
    main: kind === "main",
    other: kind === "other",
    points: frontier(surfaces[name], width, state.eps),
  });
  const compared = state.compare.filter((name) => name !== state.network);
  const widths = networks[state.network].widths.filter((width) => width !== state.width);
  return [
    ...compared.map((name) => curve(name, Math.max(...networks[name].widths), "other")),
    ...widths.map((width) => curve(state.network, width, "width")),
    curve(state.network, state.width, "main"),
  ];
}

/**
 * @param {Description} description
 * @param {State} state
 * @param {Surface} surface
 * @param {LamPoint[]} main points of the main curve
 * @returns {Comparison[]}
 */
function comparisonsOf({ reference }, state, surface, main) {
  /** @type {Comparison[]} */
  const lines = [];
  const { best, bestEps = 0 } = reference;
  if (best && state.eps >= bestEps) {
    const points = best.map(([clean, robust]) => ({ clean, robust }));
    const text = state.eps === bestEps ? "best possible" : `best possible at ε = ${bestEps}/255`;
    lines.push({ kind: "best", text, points, open: false });
  }
  const ends = coinEnds(surface, main);
  if (ends) {
    const text = "coin: one of its two ends at random";
    lines.push({ kind: "coin", text, points: ends, open: false });
  }
  const weak = frontier(surface, state.width, state.eps, "pgd-20");
  if (weak.length)
    lines.push({ kind: "weak", text: "weaker attack PGD-20, an upper bound", points: weak, open: false });
  const { mixed } = surface;
  if (mixed && state.eps === mixed.eps && state.width === surface.widths.at(-1)) {
    const points = mixed.points.map(([weight, clean, robust]) => ({ weight, clean, robust }));
    lines.push({ kind: "mixed", text: "mixed outputs of its two ends", points, open: true });
  }
  return lines.filter((line) => line.points.length);
}

/**
 * @param {Description} description
 * @param {State} state
 * @returns {Mark[]}
 */
function marksOf({ marks = [], networks }, state) {
  const { backbone } = networks[state.network];
  const comparable = marks.filter((mark) => !mark.backbone || mark.backbone === backbone);
  return comparable.flatMap(({ name, lam, clean, eps, robust }) => {
    const value = interpolate(eps, robust, state.eps);
    return value === null ? [] : [{ name, lam, clean, robust: value }];
  });
}

/**
 * @param {Content} content
 * @param {Reading} reading
 * @param {number} width of the plot in pixels
 * @param {number} height
 * @returns {Scales}
 */
export function scalesOf({ curves, comparisons, marks, trained }, reading, width, height) {
  const box = { left: 46, right: width - 12, top: 12, bottom: height - 38 };
  const points = [...curves, ...comparisons, ...trained.slice(-1)].flatMap((line) => line.points);
  const clean = [...points, ...marks].map((point) => point.clean);
  const robust = [...points, ...marks].map((point) => point.robust);
  if (reading.clean.value !== null) {
    clean.push(reading.clean.value);
    robust.push(reading.robust.value ?? 0);
  }
  const least = Math.min(0.9, ...clean);
  const best = Math.max(...clean);
  // Images that no network is good at get axes of their own, or their curves would be tiny.
  const isHard = best < HARD;
  const most = Math.max(isHard ? 0.1 : 0.5, ...robust);
  const gap = least < 0.55 && !isHard ? 0.1 : 0.05;
  const low = Math.max(0, Math.floor((least - 0.02) / gap) * gap);
  const end = isHard ? Math.ceil((best + 0.02) / gap) * gap : 1;
  const high = Math.min(1, Math.ceil((most + 0.03) * 10) / 10);
  return {
    box,
    x: (accuracy) => box.left + ((accuracy - low) / (end + 0.005 - low)) * (box.right - box.left),
    y: (accuracy) => box.bottom - (accuracy / high) * (box.bottom - box.top),
    low,
    end,
    high,
    gap,
  };
}
