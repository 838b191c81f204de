// Words in the picture, placed where they cover least.

// A line as points that are at most `step` pixels apart.
function dense(points, step = 4) {
  return points.flatMap((to, i) => {
    if (!i) return [to];
    const from = points[i - 1], n = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / step));
    return Array.from({ length: n }, (_, k) => ({
      x: from.x + ((k + 1) / n) * (to.x - from.x), y: from.y + ((k + 1) / n) * (to.y - from.y) }));
  });
}

// Right of a point, left, above, below, and a little higher or lower on either side.
const AROUND = [[1, 0], [-1, 0], [0, -1], [0, 1], [1, -1], [-1, -1], [1, 1], [-1, 1], [1, -2], [-1, -2]];

// Places for words beside points: inside the `box`, away from other words, and hiding as few of the `crowd` as possible.
class Labels {
  constructor(box, crowd) {
    Object.assign(this, { box, crowd, taken: [] });
  }

  // {x, y, anchor} of a text element that belongs to the point at (px, py).
  place(text, px, py, gap = 9) {
    const wide = 7.4 * text.length + 8, tall = 17;
    const spots = [1, 2, 3, 5, 7].map((times) => times * gap).flatMap((away) => AROUND.map(([h, v]) => {
      const left = h > 0 ? px + away : h < 0 ? px - away - wide : px - wide / 2;
      const top = py - tall / 2 + v * (tall / 2 + (h ? 1 : away));
      return { left, top, right: left + wide, bottom: top + tall };
    }));
    const cost = (spot) => this.hidden(spot) + 100 * this.taken.filter((other) => overlap(spot, other)).length + 1000 * this.outside(spot);
    const best = spots.reduce((least, spot) => (cost(spot) < cost(least) ? spot : least));
    this.taken.push(best);
    return { x: best.left + wide / 2, y: best.bottom - 4.5, anchor: "middle" };
  }

  hidden(spot) {
    return this.crowd.filter((p) => p.x > spot.left && p.x < spot.right && p.y > spot.top && p.y < spot.bottom).length;
  }

  outside(spot) {
    const { left, right, top, bottom } = this.box;
    return spot.left < left || spot.right > right || spot.top < top || spot.bottom > bottom ? 1 : 0;
  }
}

function overlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}
