// @ts-check
// The state as a string. Users copy and paste it, and the address of a page holds it.
/** @import { Description, State } from "./types.js" */
import { nearest } from "./curves.js";

/** @type {(keyof State)[]} */
const KEYS = ["network", "lam", "width", "eps", "attack", "min_clean", "max_size", "compare"];

/**
 * @param {State} state
 * @returns {string} such as "network=oats&lam=0.3&width=0.75&eps=8&attack=quick&..."
 */
export function writeState(state) {
  const pairs = KEYS.map((key) => {
    const text = key === "compare" ? state.compare.join(",") : String(state[key]);
    const encoded = encodeURIComponent(text).replaceAll("%2C", ",").replaceAll("%20", "+");
    return `${key}=${encoded}`;
  });
  return pairs.join("&");
}

/**
 * Read a state. Throws an Error that says which value is not allowed.
 * @param {string} text such as "lam=0.3&width=0.5"
 * @param {State} state holds all values that `text` does not name
 * @param {Pick<Description, "networks" | "attacks" | "maxEps">} description
 * @returns {State}
 */
export function readState(text, state, description) {
  const pairs = new URLSearchParams(text.trim().replace(/^[#?]/, ""));
  const read = { ...state };
  for (const [key, value] of pairs) {
    if (key === "network" || key === "attack") {
      read[key] = value;
    } else if (key === "compare") {
      read.compare = value.split(",").filter(Boolean);
    } else if (key === "steps") {
      // number of PGD steps, which earlier versions wrote
      if (pairs.has("attack")) throw new Error("a state has either steps or attack, not both");
      read.attack = `pgd-${value}`;
    } else if (
      key === "lam" ||
      key === "width" ||
      key === "eps" ||
      key === "min_clean" ||
      key === "max_size"
    ) {
      read[key] = toNumber(key, value);
    } else {
      throw new Error(`unknown key "${key}" in a state; the keys are ${KEYS.join(", ")}`);
    }
  }
  check(read, description);
  return fitToNetwork(read, description);
}

/**
 * @param {string} key
 * @param {string} value
 */
function toNumber(key, value) {
  if (value.trim() === "" || !isFinite(+value))
    throw new Error(`${key} must be a number, got "${value}"`);
  return +value;
}

/**
 * Throw an Error if a value is not allowed. λ and width are not checked: they are fitted.
 * @param {State} state
 * @param {Pick<Description, "networks" | "attacks" | "maxEps">} description
 */
function check(state, { networks, attacks, maxEps }) {
  for (const name of [state.network, ...state.compare])
    if (!Object.hasOwn(networks, name))
      throw new Error(
        `unknown network "${name}"; the networks are ${Object.keys(networks).join(", ")}`,
      );
  if (!attacks.includes(state.attack))
    throw new Error(`attack must be one of ${attacks.join(", ")}, got "${state.attack}"`);
  if (!(state.eps >= 0 && state.eps <= maxEps))
    throw new Error(`eps must lie in [0, ${maxEps}], in units of 1/255, got ${state.eps}`);
  for (const key of /** @type {const} */ (["min_clean", "max_size"]))
    if (!(state[key] >= 0 && state[key] <= 1))
      throw new Error(`${key} must lie in [0, 1], got ${state[key]}`);
}

/**
 * The state with λ and width moved to the nearest values that its network has.
 * @param {State} state
 * @param {Pick<Description, "networks">} description
 * @returns {State}
 */
export function fitToNetwork(state, { networks }) {
  const { stops, widths } = networks[state.network];
  const lam = Math.min(Math.max(state.lam, stops[0]), stops[stops.length - 1]);
  return { ...state, lam, width: widths[nearest(widths, state.width)] };
}
