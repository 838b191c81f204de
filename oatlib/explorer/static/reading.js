// @ts-check
// What is known at the current positions of the dials, and how it is said in words.
/** @import { Accuracy, Description, Frame, Reading } from "./types.js" */
/** @import { State, Surface, Training, Values } from "./types.js" */
import { coinEnds, coinRobustness, curveAttack, estimate, frontier, wilson } from "./curves.js";
import { percent, short } from "./format.js";

/**
 * Take clean and robust accuracy from the newest measurement if it is of this setting and its
 * attack has ended, else estimate them from the surface. During an attack the robust accuracy of
 * the measurement starts at the clean one and falls, so it says nothing yet.
 * @param {State} state
 * @param {Surface} surface
 * @param {Values["live"]} live the newest measurement
 * @param {boolean} moving While a slider is dragged no attack is shown. It would start again with
 *   every move.
 * @returns {Reading}
 */
export function readingOf(state, surface, live, moving) {
  const here = live.key && isOfSetting(live, state) ? live : null;
  const frame = here && here.key[3] === state.eps && here.key[4] === state.attack ? here : null;
  const settled = frame?.phase === "settled";
  const onCurve = estimate(surface, state.lam, state.width, state.eps);

  let clean = accuracyOf("estimated", onCurve.clean, surface.n);
  let robust = accuracyOf("estimated", onCurve.robust, surface.n);
  let attack = curveAttack(surface, state.width, state.eps);
  if (frame && settled) {
    clean = accuracyOf("measured", frame.clean, frame.n);
    robust = accuracyOf("measured", frame.robust, frame.n);
    attack = state.attack;
  }
  return {
    clean,
    robust,
    onCurve,
    attack: state.eps ? attack : null,
    frame,
    milliseconds: here ? here.ms : null,
    settled,
    refining: frame !== null && settled && frame.n < frame.of,
    attacking: frame?.phase === "walk" && !moving,
  };
}

/**
 * Whether a measurement is of this network at this λ and width.
 * @param {Frame} frame
 * @param {State} state
 */
function isOfSetting({ key: [network, lam, width] }, state) {
  return network === state.network && lam === state.lam && width === state.width;
}

/**
 * @param {"measured" | "estimated"} kind
 * @param {number | null} value
 * @param {number} n number of images
 * @returns {Accuracy}
 */
function accuracyOf(kind, value, n) {
  if (value === null) return { kind: "none", value, low: null, high: null, n };
  const [low, high] = wilson(value, n);
  return { kind, value, low, high, n };
}

/**
 * How far a setting lies above the coin between the ends of its dial, at the same clean accuracy.
 * Both are taken from the curve, because its numbers are of the same images. Return null if it is
 * unknown.
 * @param {State} state
 * @param {Surface} surface
 * @param {Reading} reading
 */
export function gainOverCoin(state, surface, { onCurve, attack }) {
  if (onCurve.clean === null || onCurve.robust === null) return null;
  if (attack && !surface.order.includes(attack)) return null; // an upper bound
  const curve = frontier(surface, state.width, state.eps);
  const coin = coinRobustness(coinEnds(surface, curve), onCurve.clean);
  return coin === null ? null : onCurve.robust - coin;
}

/**
 * The name of an attack. A weaker attack than the suite misses errors that the suite finds, so its
 * robust accuracy is called an upper bound wherever it stands.
 * @param {Description} description
 * @param {string | null} attack
 */
export function attackLabel(description, attack) {
  if (attack === null) return "no attack";
  const name = description.attackNames[attack];
  return attack === "suite" ? name : `${name}, an upper bound`;
}

/**
 * The setting and its accuracies as a sentence, for screen readers.
 * @param {State} state
 * @param {Reading} reading
 */
export function inWords(state, { clean, robust }) {
  /** @param {Accuracy} accuracy */
  const write = ({ kind, value }) => {
    if (value === null) return "not known yet";
    return kind === "estimated" ? `about ${percent(value)}` : percent(value);
  };
  const setting = `${state.network} at λ ${short(state.lam)}, width ${short(state.width)}`;
  return `${setting}: clean ${write(clean)}, robust ${write(robust)}`;
}

/**
 * Whether a training is running or paused, so that it can continue.
 * @param {Training | null} training
 */
export function isUnderWay(training) {
  return training?.status === "running" || training?.status === "paused";
}
