// @ts-check
// Places for text in the plot, where it hides as little as possible.

/** @typedef {{ x: number, y: number }} Pixel */
/** @typedef {{ left: number, right: number, top: number, bottom: number }} Box */

/**
 * Return a line as points that are at most `step` pixels apart.
 * @param {Pixel[]} points
 */
export function subdivide(points, step = 4) {
  return points.flatMap((to, i) => {
    if (i === 0) return [to];
    const from = points[i - 1];
    const distance = Math.hypot(to.x - from.x, to.y - from.y);
    const n = Math.max(1, Math.ceil(distance / step));
    return Array.from({ length: n }, (_, k) => ({
      x: from.x + ((k + 1) / n) * (to.x - from.x),
      y: from.y + ((k + 1) / n) * (to.y - from.y),
    }));
  });
}

// Directions around a point, horizontal and vertical: right, left, above, below, and a little
// higher or lower on either side.
const DIRECTIONS = [
  [1, 0],
  [-1, 0],
  [0, -1],
  [0, 1],
  [1, -1],
  [-1, -1],
  [1, 1],
  [-1, 1],
  [1, -2],
  [-1, -2],
];
const DISTANCES = [1, 2, 3, 5, 7]; // in gaps
const LABEL_GAP = 9; // pixels
const LABEL_HEIGHT = 17; // of a line of text, in pixels
const OVERLAP = 100; // cost of hiding other text; a hidden point costs 1, a gap 1/2

/** Places text beside points, inside a box, away from other text. */
export class Labels {
  /**
   * @param {Box} box
   * @param {Pixel[]} crowd points that text should not hide
   */
  constructor(box, crowd) {
    this.box = box;
    this.crowd = crowd;
    /** @type {Box[]} */
    this.taken = [];
  }

  /**
   * Find a place for the middle of a text that belongs to the point (x, y).
   * @param {string} text
   * @param {number} x
   * @param {number} y
   * @param {number} most the largest cost at which the text is written
   * @returns {Pixel | null} null: no place is good enough
   */
  place(text, x, y, most = Infinity) {
    const width = 7.4 * text.length + 8;
    const spots = DISTANCES.flatMap((times) =>
      DIRECTIONS.map(([h, v]) => {
        const spot = this.moveInside(
          spotAt({ x, y }, times * LABEL_GAP, h, v, width, LABEL_HEIGHT),
        );
        return { spot, cost: this.cost(spot, { x, y }) + (times - 1) / 2 };
      }),
    );
    const { spot, cost } = spots.reduce((least, one) => (one.cost < least.cost ? one : least));
    if (cost > most) return null;
    this.taken.push(spot);
    return { x: spot.left + width / 2, y: spot.bottom - 4.5 };
  }

  /**
   * A spot that would be cut off, moved into the box.
   * @param {Box} spot
   * @returns {Box}
   */
  moveInside({ left, right, top, bottom }) {
    const h = Math.max(this.box.left - left, Math.min(0, this.box.right - right));
    const v = Math.max(this.box.top - top, Math.min(0, this.box.bottom - bottom));
    return { left: left + h, right: right + h, top: top + v, bottom: bottom + v };
  }

  /**
   * How much a text at a spot hides. Its own point counts like other text.
   * @param {Box} spot
   * @param {Pixel} own
   */
  cost(spot, own) {
    const hidden = this.crowd.filter((point) => contains(spot, point)).length;
    const overlapping = this.taken.filter((other) => overlap(spot, other)).length;
    return hidden + OVERLAP * (overlapping + (contains(spot, own) ? 1 : 0));
  }
}

/**
 * @param {Pixel} point
 * @param {number} distance
 * @param {number} h horizontal direction
 * @param {number} v vertical direction
 * @param {number} width
 * @param {number} height
 * @returns {Box}
 */
function spotAt({ x, y }, distance, h, v, width, height) {
  let left = x - width / 2;
  if (h > 0) left = x + distance;
  if (h < 0) left = x - distance - width;
  const top = y - height / 2 + v * (height / 2 + (h ? 1 : distance));
  return { left, top, right: left + width, bottom: top + height };
}

/**
 * @param {Box} box
 * @param {Pixel} point
 */
function contains(box, { x, y }) {
  return x > box.left && x < box.right && y > box.top && y < box.bottom;
}

/**
 * @param {Box} a
 * @param {Box} b
 */
function overlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}
