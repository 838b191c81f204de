// @ts-check
// The state as a string. Users copy and paste it, and the address of a page holds it.
// The rules and the messages are those of state.py.
/** @import { Description, State } from "./types.js" */
import { nearest } from "./curves.js";

/** @typedef {Pick<Description, "networks" | "attacks" | "maxEps">} Limits */

/** @type {(keyof State)[]} */
const KEYS = ["network", "lam", "width", "eps", "attack", "min_clean", "max_size", "compare"];
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const TRAINED_HERE = /, trained here \d+$/; // how the names of networks end that a page has trained
const LONGEST = 60; // characters of a given text that a message repeats

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
 * @param {Limits} description
 * @returns {State}
 */
export function readState(text, state, description) {
  const read = readWhatFits(text, state, description);
  if (read.faults.length) throw new Error(read.faults[0]);
  return read.state;
}

/**
 * Read the parts of a state that are allowed, and say of each other part why it is not.
 * @param {string} text such as "lam=0.3&width=0.5"
 * @param {State} state holds all values that `text` does not name, or for which it is not allowed
 * @param {Limits} description
 * @returns {{ state: State, faults: string[] }}
 */
export function readWhatFits(text, state, description) {
  /** @type {string[]} */
  const faults = [];
  const pairs = pairsOf(text, faults);
  const read = { ...state };
  // The network comes first, because it decides which λ and widths are allowed.
  const order = /** @type {const} */ (["network", ...KEYS.slice(1), "steps"]);
  for (const key of pairs.keys())
    if (!order.some((known) => known === key))
      faults.push(`unknown key ${quoted(key)} in a state; the keys are ${KEYS.join(", ")}`);
  for (const key of order) {
    const value = pairs.get(key);
    if (value === undefined) continue;
    try {
      if (key === "steps" && pairs.has("attack"))
        throw new Error("a state has either steps or attack, not both");
      Object.assign(read, readValue(key, value, read, description));
    } catch (error) {
      faults.push(error instanceof Error ? error.message : String(error));
      // λ and width of a network that is not here mean nothing for another one
      if (key === "network") for (const own of ["lam", "width"]) pairs.delete(own);
      if (key === "compare") read.compare = namesIn(value, description);
    }
  }
  return { state: fitToNetwork(read, description), faults };
}

/**
 * The values of a text by key. What is not a pair goes to `faults`.
 * @param {string} text
 * @param {string[]} faults
 */
function pairsOf(text, faults) {
  /** @type {Map<string, string>} */
  const pairs = new Map();
  const stripped = text.trim().replace(/^[#?]+/, "");
  for (const part of stripped ? stripped.split("&") : []) {
    if (part.includes("="))
      for (const [key, value] of new URLSearchParams(part)) pairs.set(key, value);
    else faults.push(`a state is written as lam=0.3&width=0.5, got ${quoted(part)}`);
  }
  return pairs;
}

/**
 * The part of the state that a key sets. Throws an Error if the value is not allowed.
 * @param {keyof State | "steps"} key
 * @param {string} text
 * @param {State} state its network is known
 * @param {Limits} description
 * @returns {Partial<State>}
 */
function readValue(key, text, state, description) {
  const { networks, attacks, maxEps } = description;
  if (key === "network") {
    checkName(text, networks);
    return { network: text };
  }
  if (key === "compare") {
    for (const name of listed(text, networks).filter(Boolean)) checkName(name, networks);
    return { compare: namesIn(text, description) };
  }
  if (key === "attack") {
    if (!attacks.includes(text))
      throw new Error(`attack must be one of ${attacks.join(", ")}, got ${quoted(text)}`);
    return { attack: text };
  }
  const value = toNumber(key, text);
  if (key === "steps") {
    // number of PGD steps, which earlier versions wrote
    const attack = `pgd-${value}`;
    const steps = attacks.filter((one) => one.startsWith("pgd-")).map((one) => one.slice(4));
    if (!attacks.includes(attack))
      throw new Error(`steps must be one of ${steps.join(", ")}, got ${general(value)}`);
    return { attack };
  }
  const { stops, widths } = networks[state.network];
  const [low, high] = [stops[0], stops[stops.length - 1]];
  if (key === "lam" && !(low <= value && value <= high)) {
    const range = `[${general(low)}, ${general(high)}]`;
    throw new Error(`lam must lie in ${range} for '${state.network}', got ${general(value)}`);
  }
  if (key === "width" && !(Math.abs(widths[nearest(widths, value)] - value) <= 1e-6)) {
    const all = widths.map(general).join(", ");
    throw new Error(`width ${general(value)} is not in this network: its widths are ${all}`);
  }
  if (key === "eps" && !(value >= 0 && value <= maxEps))
    throw new Error(`eps must lie in [0, ${maxEps}], in units of 1/255, got ${general(value)}`);
  if ((key === "min_clean" || key === "max_size") && !(value >= 0 && value <= 1))
    throw new Error(`${key} must lie in [0, 1], got ${general(value)}`);
  return { [key]: value };
}

/**
 * @param {string} key
 * @param {string} text
 */
function toNumber(key, text) {
  const value = NUMBER.test(text.trim()) ? +text : NaN;
  if (!isFinite(value)) throw new Error(`${key} must be a number, got ${quoted(text)}`);
  return value;
}

/**
 * Throw an Error if there is no network of this name.
 * @param {string} name
 * @param {Description["networks"]} networks
 */
function checkName(name, networks) {
  if (Object.hasOwn(networks, name)) return;
  if (TRAINED_HERE.test(name))
    throw new Error(
      `“${shortened(name)}” lived only in the last page: train it again, or open the file that ` +
        "you saved with `oatlib explore FILE`",
    );
  const names = Object.keys(networks).join(", ");
  throw new Error(`unknown network ${quoted(name)}; the networks are ${names}`);
}

/**
 * The names in a list that networks have, each once.
 * @param {string} text names with commas between them
 * @param {Pick<Description, "networks">} description
 */
function namesIn(text, { networks }) {
  return [...new Set(listed(text, networks))].filter((name) => Object.hasOwn(networks, name));
}

/**
 * The names in a list. A name may hold commas, too: the longest part that is one counts.
 * @param {string} text names with commas between them
 * @param {Description["networks"]} networks
 */
function listed(text, networks) {
  const words = text.split(",");
  const commas = Object.keys(networks).map((name) => name.split(",").length - 1);
  /** @type {string[]} */
  const names = [];
  for (let start = 0; start < words.length; ) {
    let end = start + 1 + Math.max(...commas);
    while (end > start + 1 && !Object.hasOwn(networks, words.slice(start, end).join(","))) end--;
    names.push(words.slice(start, end).join(","));
    start = end;
  }
  return names;
}

/**
 * A text in quotes for a message.
 * @param {string} text
 */
function quoted(text) {
  return `'${shortened(text)}'`;
}

/**
 * The beginning of a long text.
 * @param {string} text
 */
export function shortened(text) {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}...` : text;
}

/**
 * A number with six digits at most.
 * @param {number} x
 */
function general(x) {
  return String(+x.toPrecision(6));
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
