// @ts-check
// A few images under attack: the image, the change, the attacked image, and the predictions.
/** @import { Description, GalleryRow, Prediction, View } from "./types.js" */
import { nearest } from "./curves.js";
import { make } from "./elements.js";
import { short } from "./format.js";
import { aroundGrey, decodeBytes, paint } from "./pixels.js";
import { PartsOfImage, SeeThroughToggle } from "./see_through.js";

// Factor on the change. ±16/255, the largest ε, then just fills the range from black to white.
const MAGNIFICATION = 8;

export class Gallery {
  /** @param {Description} description */
  constructor(description) {
    this.cards = description.images.map((_, i) => new Card(description, i));
    this.grid = make(
      "div",
      { class: "gallery", title: description.hint },
      ...this.cards.map((card) => card.element),
    );
    const toggle = description.seeThrough
      ? new SeeThroughToggle((on) => this.setSeeThrough(on))
      : null;
    this.element = description.missing
      ? make("div", { class: "images" }, missingText(description.missing))
      : make("div", { class: "images" }, toggle && toggle.element, this.grid);
    /** @type {GalleryRow[] | null} */
    this.shown = null;
  }

  /** @param {View} view */
  update({ state, reading: { frame }, shots, moving }) {
    if (!shots) {
      this.show(frame && frame.gallery, frame !== null && !moving, "");
      return;
    }
    const w = nearest(shots.widths, state.width);
    const l = nearest(shots.lams, state.lam);
    const note = `attacked at λ = ${short(shots.lams[l])}, ε = ${short(shots.eps)}/255`;
    this.show(shots.rows[w][l], true, note);
  }

  /**
   * @param {GalleryRow[] | null} rows null: leave the images as they are
   * @param {boolean} current whether they belong to the current setting
   * @param {string} note
   */
  show(rows, current, note) {
    this.grid.classList.toggle("stale", !current);
    this.grid.dataset.note = note;
    if (!rows || rows === this.shown) return;
    this.shown = rows;
    for (const [i, row] of rows.entries()) this.cards[i].show(row);
  }

  /** @param {boolean} on */
  setSeeThrough(on) {
    for (const card of this.cards) card.setSeeThrough(on);
  }
}

/**
 * What to do about images that are not here. Commands stand between backticks.
 * @param {string} text
 */
function missingText(text) {
  const parts = text.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));
  return make("p", { class: "missing" }, ...parts);
}

/** One image. */
class Card {
  /**
   * @param {Description} description
   * @param {number} i index of the image
   */
  constructor(description, i) {
    this.description = description;
    this.index = i;
    /** @type {number[]} change of each pixel value by the attack; empty before a measurement */
    this.difference = [];
    this.spared = false; // misclassified before the attack, which then leaves the image as it is
    /** @type {PartsOfImage | null} null until they are shown for the first time */
    this.parts = null;
    this.pixels = decodeBytes(description.images[i]);
    this.change = make("canvas", { role: "img", "aria-label": `change × ${MAGNIFICATION}` });
    this.attacked = make("canvas", { role: "img", "aria-label": "attacked" });
    this.before = make("p", { class: "said" });
    this.now = make("p", { class: "said" });
    this.captions = make("figcaption", {}, caption(description.captions[i]), this.before, this.now);
    const original = make("canvas", { role: "img", "aria-label": "image" });
    const names = ["image", `change ×${MAGNIFICATION}`, "attacked"];
    const titles = names.map((name) => make("span", {}, name));
    this.element = make(
      "figure",
      { class: "card" },
      make("div", { class: "row" }, original, this.change, this.attacked),
      make("div", { class: "row names" }, ...titles),
      this.captions,
    );
    paint(original, this.pixels, description.shape);
  }

  /** @param {GalleryRow} row */
  show(row) {
    if (!row.before) return; // the first measurement is not finished
    const { shape, classes } = this.description;
    const attacked = decodeBytes(row.image);
    this.difference = Array.from(attacked, (value, at) => value - this.pixels[at]);
    paint(this.change, aroundGrey(this.difference, MAGNIFICATION), shape);
    paint(this.attacked, attacked, shape);
    write(this.before, "clean: ", row.before, classes);
    // an image that is misclassified before the attack has fell = -1
    const fell = row.fell !== undefined && row.fell > 0;
    this.spared = row.fell === -1;
    write(this.now, fell ? `step ${row.fell}: ` : "attacked: ", row.now, classes);
    this.element.classList.toggle("wrong", !row.now.right);
    this.showParts();
  }

  /** @param {boolean} on */
  setSeeThrough(on) {
    if (on && !this.parts) {
      this.parts = new PartsOfImage(this.description, this.index);
      this.captions.before(this.parts.element);
      this.captions.append(this.parts.words);
    }
    if (this.parts) {
      this.parts.element.hidden = !on;
      this.parts.words.hidden = !on;
    }
    this.showParts();
  }

  showParts() {
    if (this.parts && !this.parts.element.hidden && this.difference.length)
      this.parts.show(this.difference, this.spared);
  }
}

/**
 * A caption whose parts do not break in the middle.
 * @param {string} text
 */
function caption(text) {
  const parts = text.split(" · ").map((part) => make("span", {}, part));
  const children = parts.flatMap((part, i) => (i ? [" · ", part] : ["", part]));
  return make("p", { class: "truth" }, ...children);
}

/**
 * @param {HTMLElement} element
 * @param {string} start
 * @param {Prediction} prediction
 * @param {string[]} classes
 */
function write(element, start, { said, sure, right }, classes) {
  const text = `${right ? "✓" : "✗"} ${classes[said]} ${Math.round(100 * sure)}\u00a0%`;
  element.replaceChildren(start, make("b", { class: right ? "right" : "wrong" }, text));
}
