// @ts-check
// The numbers of the current setting: accuracies, progress of the attack, cost.
/** @import { Accuracy, Actions, Description, Frame, View } from "./types.js" */
import { make, makeSvg } from "./elements.js";
import { count, duration, percent, percentRange } from "./format.js";
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
const FALL_HEIGHT = 104; // pixels

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
    this.robust.update(reading.robust, attack);

    this.gain.hidden = net.stops.length < 2;
    this.gain.textContent = gainText(gainOverCoin(state, surface, reading));
    this.phase.textContent = phaseText(view);
    this.progress?.update(reading.frame);
    this.price?.update(view);

    const words = inWords(state, reading);
    if (reading.settled && !reading.refining && this.announced !== words) {
      this.announced = words;
      this.actions.announce(words);
    }
  }
}

/** @param {number | null} gain */
function gainText(gain) {
  if (gain === null) return "coin: –";
  const side = gain < 0 ? "below" : "above";
  return `curve here: ${Math.abs(100 * gain).toFixed(1)} points ${side} the coin`;
}

/**
 * How the robust accuracy is known, and what is being done about it.
 * @param {View} view
 */
function phaseText({ description, state, net, pace, reading }) {
  const { frame, settled, refining, attacking, robust } = reading;
  if (frame && settled) {
    const images = refining ? `${frame.n} of ${frame.of} images …` : `${frame.n} images`;
    return `measured on ${images}${net.noisy ? ", for one sample of the noise" : ""}`;
  }
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
    this.bar = make("span", { class: "bar" });
    const title = make(
      "span",
      { class: "name" },
      `${name} accuracy `,
      help(`${name} accuracy`, ...WORDS_BESIDE[name]),
    );
    const track = make("span", { class: "interval", "aria-hidden": "true" }, this.bar);
    this.element = make(
      "div",
      { class: "number" },
      title,
      this.value,
      track,
      this.range,
      this.note,
    );
  }

  /** @param {Accuracy} accuracy */
  update(accuracy, note = "") {
    this.element.dataset.kind = accuracy.kind;
    this.note.textContent = note;
    if (accuracy.value === null) {
      this.value.textContent = "–";
      this.range.textContent = "measuring";
    } else {
      const { low, high } = accuracy;
      const sign = accuracy.kind === "estimated" ? "≈ " : "";
      this.value.textContent = sign + percent(accuracy.value);
      this.range.textContent = `n = ${accuracy.n} · 95 %: ${percentRange(low, high)}`;
      this.bar.style.left = `${100 * low}%`;
      this.bar.style.width = `${100 * (high - low)}%`;
    }
  }
}

/** A small picture of how robust accuracy falls during the attack. */
class AttackProgress {
  constructor() {
    this.element = makeSvg({ class: "fall", "aria-hidden": "true" });
    this.shown = "";
  }

  /** @param {Frame | null} frame */
  update(frame) {
    const width = this.element.clientWidth || 190;
    const drawn = drawFall(frame, width);
    if (this.shown === drawn) return;
    this.shown = drawn;
    this.element.setAttribute("viewBox", `0 0 ${width} ${FALL_HEIGHT}`);
    this.element.innerHTML = drawn;
  }
}

/**
 * Robust accuracy by step of the attack, with axes, as SVG text.
 * @param {Frame | null} frame null: only the axes
 * @param {number} width in pixels
 */
function drawFall(frame, width) {
  const box = { left: 34, right: width - 8, top: 12, bottom: FALL_HEIGHT - 28 };
  const steps = Math.max(frame ? frame.steps : 1, 1);
  /** @param {number} step */
  const x = (step) => box.left + (step / steps) * (box.right - box.left);
  /** @param {number} robust */
  const y = (robust) => box.bottom - robust * (box.bottom - box.top);
  /** @type {(kind: string, x: number, y: number, anchor: string, text: string) => string} */
  const write = (kind, x, y, anchor, text) =>
    `<text class="${kind}" x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">` +
    `${text}</text>`;

  const middle = (box.left + box.right) / 2;
  let out = [0, 0.5, 1]
    .map(
      (v) =>
        `<path class="grid" d="M${box.left} ${y(v)}H${box.right}"/>` +
        write("tick", box.left - 4, y(v) + 4, "end", String(100 * v)),
    )
    .join("");
  out += write("tick", box.left, box.bottom + 12, "middle", "0");
  out += write("axis", middle, box.bottom + 24, "middle", "step of the attack");
  out +=
    `<text class="axis" transform="translate(9 ${y(0.5)}) rotate(-90)" text-anchor="middle">` +
    "robust, %</text>";
  if (!frame) return out;

  out += write("tick", box.right, box.bottom + 12, "end", String(frame.steps));
  const points = frame.correct
    .slice(1)
    .map((correct, step) => ({ step, robust: correct / frame.n }));
  const last = points[points.length - 1];
  if (!last) return out; // only the images without an attack are measured
  const line = points.map(
    ({ step, robust }, i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(robust).toFixed(1)}`,
  );
  out += `<path class="walk" d="${line.join("")}"/>`;
  out += `<circle class="walker" cx="${x(last.step)}" cy="${y(last.robust)}" r="3.5"/>`;
  const text = `${frame.phase === "settled" ? "" : "≤ "}${percent(last.robust, 0)}`;
  const side = last.step > steps / 2 ? "end" : "start";
  return out + write("now", x(last.step), Math.max(y(last.robust) - 7, 10), side, text);
}

/** The cost of the current setting. */
class Price {
  constructor() {
    this.element = make("div", { class: "price" });
    this.help = help("the cost", "parameters", "macs", "fullWidth", "time", "nonzero");
    this.shown = "";
  }

  /** @param {View} view */
  update(view) {
    const rows = priceRows(view);
    if (this.shown === rows.join()) return;
    this.shown = rows.join();
    const cells = rows.flatMap(([name, value], i) => [
      make("span", {}, name, i === 0 ? " " : "", i === 0 ? this.help : null),
      make("b", {}, value),
    ]);
    this.element.replaceChildren(...cells);
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
  if (description.live) rows.push(["time per image", milliseconds ? duration(milliseconds) : "…"]);
  if (frame && frame.nonzero < price.parameters) rows.push(["nonzero", count(frame.nonzero)]);
  return rows;
}
