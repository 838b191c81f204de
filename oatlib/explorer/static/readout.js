// @ts-check
// The numbers of the current setting: accuracies, progress of the attack, cost.
/** @import { Accuracy, Actions, Description, Frame, View } from "./types.js" */
import { make, makeSvg } from "./elements.js";
import { count, percent } from "./format.js";
import { help } from "./popover.js";
import { attackLabel, gainOverCoin, inWords } from "./reading.js";

const COIN =
  "The coin uses one of the two ends of this dial, chosen at random for each image, so that its " +
  "clean accuracy is the same.";

// keys of TEXTS that explain the words beside an accuracy
const WORDS_BESIDE = {
  clean: ["clean", "estimate", "interval", "n"],
  robust: ["robust", "quick", "suite", "pgd", "coin"],
};

export class Readout {
  /**
   * @param {Description} description
   * @param {Actions} actions
   */
  constructor({ live, hide = [] }, actions) {
    this.actions = actions;
    this.clean = new AccuracyBox("clean");
    this.robust = new AccuracyBox("robust");
    this.gain = make("p", { class: "gain", title: COIN });
    this.phase = make("p", { class: "phase" });
    this.progress = live && !hide.includes("attack") ? new AttackProgress() : null;
    this.price = hide.includes("price") ? null : new Price();
    this.element = make(
      "div",
      { class: "readout" },
      this.clean.element,
      this.robust.element,
      this.gain,
      this.phase,
      this.progress && this.progress.element,
      this.price && this.price.element,
    );
    this.announced = "";
  }

  /** @param {View} view */
  update(view) {
    const { description, state, net, surface, reading } = view;
    this.clean.update(reading.clean);
    const attack = attackLabel(description, reading.attack);
    this.robust.update(reading.robust, `${attack}, n = ${reading.robust.n}`);

    this.gain.hidden = net.stops.length < 2;
    this.gain.textContent = gainText(gainOverCoin(state, surface, reading));
    this.phase.textContent = phaseText(view);
    this.progress?.update(reading.frame);
    this.price?.update(view);

    const words = inWords(state, reading);
    if (reading.settled && this.announced !== words) {
      this.announced = words;
      this.actions.announce(words);
    }
  }
}

/** @param {number | null} gain */
function gainText(gain) {
  if (gain === null) return "coin: –";
  const side = gain < 0 ? "below" : "above";
  return `${Math.abs(100 * gain).toFixed(1)} points ${side} the coin`;
}

/**
 * How the robust accuracy is known, and what is being done about it.
 * @param {View} view
 */
function phaseText({ description, state, net, pace, reading }) {
  const { frame, settled, attacking, robust } = reading;
  if (settled) return net.noisy ? "measured, for one sample of the noise" : "measured";
  const paused = pace === "pause";
  if (frame && (attacking || paused)) {
    const step = Math.max(0, frame.step);
    const most = state.attack === "quick" ? "at most " : "";
    const name = description.attackNames[state.attack];
    return `${name}, step ${step} of ${most}${frame.steps}${paused ? ", paused" : ""}`;
  }
  if (!description.live) return "precomputed; linear between measured points";
  const source = robust.kind === "none" ? "" : "from the curve; ";
  return source + (paused ? "the attack is paused" : "measuring …");
}

/** One accuracy with its interval. */
class AccuracyBox {
  /** @param {"clean" | "robust"} name */
  constructor(name) {
    this.value = make("output", { class: "big", "data-number": name });
    this.range = make("span", { class: "range" });
    this.note = make("span", { class: "range" });
    const title = make(
      "span",
      { class: "name" },
      `${name} accuracy `,
      help(`${name} accuracy`, ...WORDS_BESIDE[name]),
    );
    this.element = make("div", { class: "number" }, title, this.value, this.range, this.note);
  }

  /** @param {Accuracy} accuracy */
  update(accuracy, note = "") {
    this.element.dataset.kind = accuracy.kind;
    this.note.textContent = note;
    if (accuracy.value === null) {
      this.value.textContent = "–";
      this.range.textContent = "measuring";
    } else {
      const sign = accuracy.kind === "estimated" ? "≈ " : "";
      this.value.textContent = sign + percent(accuracy.value);
      this.range.textContent = `${percent(accuracy.low)} to ${percent(accuracy.high)}`;
    }
  }
}

/** A small picture of how robust accuracy falls during the attack. */
class AttackProgress {
  constructor() {
    this.element = makeSvg({ class: "walkplot", "aria-hidden": "true" });
    this.key = "";
    /** @type {[step: number, robust: number][]} */
    this.seen = [];
  }

  /** @param {Frame | null} frame */
  update(frame) {
    if (!frame) {
      draw(this.element, [], 1);
      return;
    }
    const key = JSON.stringify(frame.key);
    const lastStep = this.seen.length ? this.seen[this.seen.length - 1][0] : -1;
    if (key !== this.key || frame.step < lastStep) this.seen = [];
    this.key = key;
    if (this.seen.at(-1)?.[0] !== frame.step) this.seen.push([frame.step, frame.robust]);
    const attacked = this.seen.filter(([step]) => step >= 0);
    draw(this.element, attacked, frame.steps || 1);
  }
}

/**
 * @param {SVGSVGElement} svg
 * @param {[step: number, robust: number][]} seen
 * @param {number} steps the largest possible step
 */
function draw(svg, seen, steps) {
  const width = 200;
  const height = 52;
  /** @param {number} step */
  const x = (step) => 4 + (step / Math.max(steps, 1)) * (width - 8);
  /** @param {number} robust */
  const y = (robust) => height - 4 - robust * (height - 10);
  const line = seen.map(
    ([step, robust], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(robust).toFixed(1)}`,
  );
  const dot = seen
    .slice(-1)
    .map(([step, robust]) => `<circle class="walker" cx="${x(step)}" cy="${y(robust)}" r="3.5"/>`);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.innerHTML =
    `<path class="floor" d="M4 ${height - 4}H${width - 4}"/>` +
    `<path class="walk" d="${line.join("")}"/>${dot.join("")}`;
}

/** The cost of the current setting. */
class Price {
  constructor() {
    this.element = make("div", { class: "price" });
    this.help = help("the cost", "parameters", "macs", "nonzero");
    this.shown = "";
  }

  /** @param {View} view */
  update(view) {
    const rows = priceRows(view);
    if (this.shown === rows.join()) return;
    this.shown = rows.join();
    const cells = rows.flatMap(([name, value]) => [make("span", {}, name), make("b", {}, value)]);
    this.element.replaceChildren(...cells, this.help);
  }
}

/**
 * @param {View} view
 * @returns {[name: string, value: string][]}
 */
function priceRows({ description, state, net, reading: { frame, milliseconds } }) {
  const price = net.prices[net.widths.indexOf(state.width)];
  const full = net.prices[net.prices.length - 1];
  /** @type {[string, string][]} */
  const rows = [
    ["parameters", count(price.parameters)],
    ["multiply-adds", count(price.macs)],
    ["… of full width", percent(price.macs / full.macs, 0)],
  ];
  if (description.live)
    rows.push(["time per image", milliseconds ? `${milliseconds.toPrecision(2)} ms` : "…"]);
  if (frame && frame.nonzero < price.parameters) rows.push(["nonzero", count(frame.nonzero)]);
  return rows;
}
