// @ts-check
// A few images under attack: the image, the change, the attacked image, and the predictions.
/** @import { Description, GalleryRow, Prediction, View } from "./types.js" */
import { nearest } from "./curves.js";
import { make } from "./elements.js";
import { short } from "./format.js";

// Factor on the change. ±16/255, the largest ε, then just fills the range from black to white.
const MAGNIFICATION = 8;

export class Gallery {
  /** @param {Description} description */
  constructor(description) {
    this.cards = description.images.map((_, i) => new Card(description, i));
    this.element = make(
      "div",
      { class: "gallery", title: description.hint },
      ...this.cards.map((card) => card.element),
    );
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
    this.element.classList.toggle("stale", !current);
    this.element.dataset.note = note;
    if (!rows || rows === this.shown) return;
    this.shown = rows;
    for (const [i, row] of rows.entries()) this.cards[i].show(row);
  }
}

/** One image. */
class Card {
  /**
   * @param {Description} description
   * @param {number} i index of the image
   */
  constructor(description, i) {
    this.description = description;
    this.pixels = decodeBytes(description.images[i]);
    this.change = make("canvas", { role: "img", "aria-label": `change × ${MAGNIFICATION}` });
    this.attacked = make("canvas", { role: "img", "aria-label": "attacked" });
    this.before = make("p", { class: "said" });
    this.now = make("p", { class: "said" });
    const original = make("canvas", { role: "img", "aria-label": "image" });
    const names = ["image", `change ×${MAGNIFICATION}`, "attacked"];
    const titles = names.map((name) => make("span", {}, name));
    this.element = make(
      "figure",
      { class: "card" },
      make("div", { class: "row" }, original, this.change, this.attacked),
      make("div", { class: "row names" }, ...titles),
      make("figcaption", {}, caption(description.captions[i]), this.before, this.now),
    );
    paint(original, this.pixels, description.shape);
  }

  /** @param {GalleryRow} row */
  show(row) {
    if (!row.before) return; // the first measurement is not finished
    const { shape, classes } = this.description;
    const attacked = decodeBytes(row.image);
    paint(this.change, differenceOf(attacked, this.pixels), shape);
    paint(this.attacked, attacked, shape);
    write(this.before, "clean: ", row.before, classes);
    // an image that is misclassified before the attack has fell = -1
    const fell = row.fell !== undefined && row.fell > 0;
    write(this.now, fell ? `step ${row.fell}: ` : "attacked: ", row.now, classes);
    this.element.classList.toggle("wrong", !row.now.right);
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
  const text = `${right ? "✓" : "✗"} ${classes[said]} ${Math.round(100 * sure)} %`;
  element.replaceChildren(start, make("b", { class: right ? "right" : "wrong" }, text));
}

/**
 * @param {string} base64
 * @returns {Uint8Array} pixels, row by row, channels last
 */
function decodeBytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/**
 * The magnified change of every pixel, around grey.
 * @param {Uint8Array} after
 * @param {Uint8Array} before
 */
function differenceOf(after, before) {
  return Uint8ClampedArray.from(after, (value, i) => 128 + MAGNIFICATION * (value - before[i]));
}

/**
 * Draw pixels. An image with one channel is drawn in grey.
 * @param {HTMLCanvasElement} canvas
 * @param {Uint8Array | Uint8ClampedArray} pixels row by row, channels last
 * @param {[channels: number, height: number, width: number]} shape
 */
function paint(canvas, pixels, [channels, height, width]) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++)
      image.data[4 * i + c] = pixels[i * channels + (channels === 1 ? 0 : c)];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}
