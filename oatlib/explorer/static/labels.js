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
   * Find a place for a text that belongs to the point (x, y).
   * @param {string} text
   * @param {number} x
   * @param {number} y
   * @param {number} gap between the point and the text
   * @returns {Pixel & { anchor: string }} attributes of a text element
   */
  place(text, x, y, gap = 9) {
    const width = 7.4 * text.length + 8;
    const height = 17;
    const spots = DISTANCES.flatMap((times) =>
      DIRECTIONS.map(([h, v]) => spotAt({ x, y }, times * gap, h, v, width, height)),
    );
    const best = spots.reduce((least, spot) => (this.cost(spot) < this.cost(least) ? spot : least));
    this.taken.push(best);
    return { x: best.left + width / 2, y: best.bottom - 4.5, anchor: "middle" };
  }

  /** @param {Box} spot */
  cost(spot) {
    const hidden = this.crowd.filter((point) => contains(spot, point)).length;
    const overlapping = this.taken.filter((other) => overlap(spot, other)).length;
    return hidden + 100 * overlapping + (this.fits(spot) ? 0 : 1000);
  }

  /** @param {Box} spot */
  fits(spot) {
    const { left, right, top, bottom } = this.box;
    return spot.left >= left && spot.right <= right && spot.top >= top && spot.bottom <= bottom;
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
