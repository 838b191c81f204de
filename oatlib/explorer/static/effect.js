// @ts-check
// What a change does to the parts of an image of "shapes". oatlib/data/scenes.py computes the same.
/** @import { ImageParts, SeeThrough } from "./types.js" */
import { decodeBytes } from "./pixels.js";

/**
 * A change split into three, see `Effect` in scenes.py. Pixel units are 0 to 255.
 * @typedef {object} Effect
 * @property {number[]} drawn multiple of the drawn shape
 * @property {number[]} texture sum of multiples of the textures of all classes
 * @property {number[]} rest
 * @property {number} faded fraction of the drawn shape that is erased
 * @property {number} erased fraction of the true texture that is erased
 * @property {number[]} forged by class: texture of other classes, as a fraction of the true texture
 * @property {number} restShare of the sum of squares
 */

const TILE_SIZE = 4; // height and width of a texture tile in pixels

/** The parts of one image, and the cues that an attack can change. */
export class Cues {
  /**
   * @param {SeeThrough} seeThrough
   * @param {number} i index of the image
   * @param {[channels: number, height: number, width: number]} shape
   */
  constructor({ tiles, paired, images }, i, shape) {
    this.about = images[i];
    this.classes = tiles.length;
    this.paired = paired;
    const textures = tiles.map((tile) => textureOf(tile, shape));
    this.patterns = textures.filter((_, label) => !paired || label % 2 === 0);
    this.drawn = shapeOf(this.about);
    const amplitude = 255 * this.about.amplitude;
    this.texture = textures[this.about.label].map((sign) => amplitude * sign);
  }

  /**
   * @param {number[]} change
   * @returns {Effect}
   */
  effect(change) {
    const multiples = multiplesOf([...this.patterns, this.drawn], change);
    const ofPatterns = multiples.slice(0, -1);
    const faded = -multiples[multiples.length - 1];
    const drawn = this.drawn.map((value) => -faded * value);
    const texture = change.map((_, at) =>
      dot(
        ofPatterns,
        this.patterns.map((one) => one[at]),
      ),
    );
    const rest = change.map((value, at) => value - drawn[at] - texture[at]);
    const { label, amplitude } = this.about;
    const { classes, paired } = this;
    const image = { label, amplitude: 255 * amplitude, classes, paired };
    const restShare = dot(change, change) && dot(rest, rest) / dot(change, change);
    return { drawn, texture, rest, faded, ...textureEffect(ofPatterns, image), restShare };
  }
}

/**
 * The multiples of cues whose sum is closest to a change (least squares).
 * @param {number[][]} cues linearly independent vectors; one of zeros gets the multiple 0
 * @param {number[]} change
 */
export function multiplesOf(cues, change) {
  // the normal equations: a row for each cue, which ends with the right-hand side
  const rows = cues.map((cue) => [...cues.map((other) => dot(cue, other)), dot(cue, change)]);
  for (const [k, row] of rows.entries()) {
    if (row[k] === 0) continue;
    // remove unknown k from all other rows
    for (const other of rows) {
      if (other === row) continue;
      const factor = other[k] / row[k];
      for (let column = k; column < row.length; column++) other[column] -= factor * row[column];
    }
  }
  return rows.map((row, k) => (row[k] === 0 ? 0 : row[row.length - 1] / row[k]));
}

/**
 * How much of its texture an image loses, and how much of other textures it holds.
 * @param {number[]} multiples of the texture patterns that are added
 * @param {{ label: number, amplitude: number, classes: number, paired: boolean }} image
 */
export function textureEffect(multiples, { label, amplitude, classes, paired }) {
  // the pattern of each class, and its sign: paired classes have one pattern with opposite signs
  const step = paired ? 2 : 1;
  const own = { pattern: Math.floor(label / step), sign: label % step ? -1 : 1 };
  let erased = 0;
  const forged = Array.from({ length: classes }, (_, other) => {
    const pattern = Math.floor(other / step);
    const sign = other % step ? -1 : 1;
    // how much of the texture of this class the image holds before, and how much is added
    const before = pattern === own.pattern ? amplitude * sign * own.sign : 0;
    const added = multiples[pattern] * sign;
    if (other === label) erased = -added / amplitude;
    return other === label ? 0 : Math.max(0, before + added) / amplitude;
  });
  return { erased, forged };
}

/**
 * A texture tile repeated over an image, channels last.
 * @param {number[]} tile channel by channel
 * @param {[channels: number, height: number, width: number]} shape
 */
function textureOf(tile, [channels, height, width]) {
  return Array.from({ length: channels * height * width }, (_, at) => {
    const channel = at % channels;
    const column = Math.floor(at / channels) % width;
    const row = Math.floor(at / channels / width);
    return tile[(channel * TILE_SIZE + (row % TILE_SIZE)) * TILE_SIZE + (column % TILE_SIZE)];
  });
}

/**
 * The drawn shape minus its grey background, channels last.
 * @param {ImageParts} parts
 */
function shapeOf({ mask, contrast }) {
  return [...decodeBytes(mask)].flatMap((cover) => contrast.map((channel) => cover * channel));
}

/**
 * @param {number[]} a
 * @param {number[]} b
 */
function dot(a, b) {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}
