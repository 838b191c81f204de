// @ts-check
// What the images of the gallery are made of, and what the attack changes in each part.
/** @import { Effect } from "./effect.js" */
/** @import { Description } from "./types.js" */
import { Cues } from "./effect.js";
import { button, make } from "./elements.js";
import { aroundGrey, decodeBytes, paint } from "./pixels.js";

const TEXTURE_FACTOR = 16; // the strongest texture and its largest change stay within black to white
const CHANGE_FACTOR = 8;
const LEAST_FORGED = 0.1; // weaker textures are not named: random changes hold them, too
const MOST_NAMED = 2;
const SPACE = "\u00a0"; // does not break
const PARTS_OFFERED = "shows what each image is made of, and what the attack changes in each part";
const PARTS_EXPLAINED =
  "Each image is its drawn shape, which can lie, plus a faint texture of its class, plus noise. " +
  "Below: what the attack changed in each; 100 % forged is as strong as its own texture was.";

/** The button that turns the view on and off, with an explanation. */
export class SeeThroughToggle {
  /** @param {(on: boolean) => void} ontoggle */
  constructor(ontoggle) {
    this.on = false;
    this.ontoggle = ontoggle;
    this.button = button("see-through", () => this.toggle());
    this.explanation = make("span");
    this.element = make("div", { class: "see-through" }, this.button, this.explanation);
    this.write();
  }

  toggle() {
    this.on = !this.on;
    this.write();
    this.ontoggle(this.on);
  }

  write() {
    this.button.setAttribute("aria-pressed", String(this.on));
    this.explanation.textContent = this.on ? PARTS_EXPLAINED : PARTS_OFFERED;
  }
}

/** The parts of one image, and below them what the attack changes in each. */
export class PartsOfImage {
  /**
   * @param {Description} description with `seeThrough`
   * @param {number} i index of the image
   */
  constructor({ seeThrough, shape, classes }, i) {
    if (!seeThrough) throw new Error("the parts of these images are not known");
    const parts = seeThrough.images[i];
    this.cues = new Cues(seeThrough, i, shape);
    this.shape = shape;
    this.classes = classes;
    const { row: before, canvases } = canvasRow(
      [`drawn shape: ${parts.shape}`, "texture", "noise"],
      ["shape", `texture ×${TEXTURE_FACTOR}`, `noise ×${seeThrough.noiseFactor}`],
    );
    const { row: changed, canvases: changes } = canvasRow(
      ["change of the shape", "change of the textures", "rest of the change"],
      [`change ×${CHANGE_FACTOR}`, `change ×${TEXTURE_FACTOR}`, `rest ×${CHANGE_FACTOR}`],
    );
    this.changes = changes;
    this.element = make("div", { class: "parts" }, ...before, ...changed);
    this.words = make("div", { class: "effect" });
    paint(canvases[0], aroundGrey(this.cues.drawn, 1), shape);
    paint(canvases[1], aroundGrey(this.cues.texture, TEXTURE_FACTOR), shape);
    paint(canvases[2], decodeBytes(parts.noise), shape);
    this.show(
      this.cues.drawn.map(() => 0),
      false,
    );
  }

  /**
   * @param {number[]} change of each pixel value by the attack, 0 to 255
   * @param {boolean} spared whether the attack leaves the image out, because it is misclassified
   */
  show(change, spared) {
    const effect = this.cues.effect(change);
    paint(this.changes[0], aroundGrey(effect.drawn, CHANGE_FACTOR), this.shape);
    paint(this.changes[1], aroundGrey(effect.texture, TEXTURE_FACTOR), this.shape);
    paint(this.changes[2], aroundGrey(effect.rest, CHANGE_FACTOR), this.shape);
    const none = spared ? "no change: misclassified without an attack" : "no change";
    const lines = change.some(Boolean) ? this.sentences(effect) : [none];
    this.words.replaceChildren(...lines.map((line) => make("p", {}, line)));
  }

  /** @param {Effect} effect */
  sentences({ faded, erased, forged, restShare }) {
    const strongest = forged
      .map((strength, label) => ({ strength, name: this.classes[label] }))
      .filter(({ strength }) => strength >= LEAST_FORGED)
      .sort((a, b) => b.strength - a.strength)
      .slice(0, MOST_NAMED)
      .map(({ strength, name }) => `${name}${SPACE}${wholePercent(strength)}`);
    return [
      `shape: ${lossInWords(faded)}`,
      `its texture: ${lossInWords(erased)}`,
      `forged: ${strongest.join(", ") || "none"}`,
      `rest: ${wholePercent(restShare)} of the change`,
    ];
  }
}

/**
 * @param {string[]} labels for screen readers
 * @param {string[]} names below the canvases
 */
function canvasRow(labels, names) {
  const canvases = labels.map((label) => make("canvas", { role: "img", "aria-label": label }));
  const titles = names.map((name) => make("span", {}, name));
  const row = [
    make("div", { class: "row" }, ...canvases),
    make("div", { class: "row names" }, ...titles),
  ];
  return { row, canvases };
}

/** @param {number} fraction that is erased */
function lossInWords(fraction) {
  if (Math.abs(fraction) < 0.005) return "unchanged";
  return fraction > 0 ? `${wholePercent(fraction)} erased` : `${wholePercent(-fraction)} stronger`;
}

/** @param {number} fraction */
function wholePercent(fraction) {
  return `${Math.round(100 * fraction)}${SPACE}%`;
}
