// What can be known without asking anyone. Shares in [0, 1], eps in 1/255. A surface is what surface.py calls a table.

function wilson(share, n) {
  const z2 = 1.96 * 1.96;
  const centre = (share + z2 / (2 * n)) / (1 + z2 / n);
  const half = (1.96 / (1 + z2 / n)) * Math.sqrt((share * (1 - share)) / n + z2 / (4 * n * n));
  return [Math.max(0, Math.min(share, centre - half)), Math.min(1, Math.max(share, centre + half))];
}

// Between the nearest measured points on both sides of x; null unless there are both.
function along(xs, ys, x) {
  let low = -1, high = -1;
  xs.forEach((at, i) => {
    if (ys[i] === null || ys[i] === undefined) return;
    if (at <= x + 1e-12) low = i;
    if (at >= x - 1e-12 && high < 0) high = i;
  });
  if (low < 0 || high < 0) return null;
  if (low >= high) return ys[high];
  return ys[low] + ((x - xs[low]) / (xs[high] - xs[low])) * (ys[high] - ys[low]);
}

function nearest(list, value) {
  return list.reduce((best, one, i) => (Math.abs(one - value) < Math.abs(list[best] - value) ? i : best), 0);
}

// The robust accuracies along λ at one width and ε: by the strongest attack that has measured all of them, else by the
// one that has measured most.
function rowOf(surface, w, e) {
  const rows = surface.order.map((attack) => ({ attack, row: surface.robust[attack][w][e] }));
  const known = ({ row }) => row.filter((share) => share !== null).length;
  return rows.find((one) => known(one) === surface.lams.length) ||
    rows.reduce((best, one) => (known(one) > known(best) ? one : best));
}

// {clean, robust} at any place of the dials, each null where too little is measured. `attack`: by this one only.
function estimate(surface, lam, width, eps, attack = null) {
  const w = nearest(surface.widths, width);
  const row = (e) => (attack ? surface.robust[attack][w][e] : rowOf(surface, w, e).row);
  const robust = surface.eps.map((_, e) => along(surface.lams, row(e), lam));
  return { clean: along(surface.lams, surface.clean[w], lam), robust: along(surface.eps, robust, eps) };
}

// The attack of the curve at one width and ε. Between two measured ε it is the weaker of theirs; at ε = 0 there is none.
function attackOf(surface, width, eps) {
  const w = nearest(surface.widths, width), { order } = surface;
  const below = surface.eps.findLastIndex((at) => at <= eps), above = surface.eps.findIndex((at) => at >= eps);
  const attacked = [below, above].filter((e) => surface.eps[e] > 0);
  if (!attacked.length) return null;
  return order[Math.max(...attacked.map((e) => order.indexOf(rowOf(surface, w, e).attack)))];
}

// The measured points of one width at one ε, along λ.
function frontier(surface, width, eps, attack = null) {
  return surface.lams
    .map((lam) => ({ lam, ...estimate(surface, lam, width, eps, attack) }))
    .filter((p) => p.clean !== null && p.robust !== null);
}

// The two ends of a curve of `frontier`, between which a coin can be thrown; null unless both are measured and differ.
function coinEnds(surface, points) {
  const first = points[0], last = points.at(-1);
  const both = points.length > 1 && first.lam === surface.lams[0] && last.lam === surface.lams.at(-1);
  return both && first.clean > last.clean ? [first, last] : null;
}

// Robust accuracy of the coin with this clean accuracy: for every image one of the two ends, at random.
function coinAt(ends, clean) {
  if (!ends || clean > ends[0].clean || clean < ends[1].clean) return null;
  const share = (ends[0].clean - clean) / (ends[0].clean - ends[1].clean);
  return ends[0].robust + share * (ends[1].robust - ends[0].robust);
}

// The slider is even: equal moves are equal moves along the frontier. `slider` holds λ at evenly spaced positions.
function lamOf(slider, u) {
  const at = u * (slider.length - 1), left = Math.min(Math.floor(at), slider.length - 2);
  return slider[left] + (at - left) * (slider[left + 1] - slider[left]);
}

function positionOf(slider, lam) {
  const last = slider.length - 1;
  for (let i = 0; i < last; i++)
    if (lam <= slider[i + 1]) return (i + (lam - slider[i]) / (slider[i + 1] - slider[i] || 1)) / last;
  return 1;
}

// The most robust measured setting within the limits, among equals the more accurate, then the cheaper; or why not.
function choose(net, surface, state) {
  const full = net.prices[net.prices.length - 1].macs;
  const all = surface.widths.flatMap((width, w) =>
    frontier(surface, width, state.eps).map((p) => ({ ...p, width, size: net.prices[w].macs / full })));
  if (!all.length) return { why: "Nothing is measured yet at this ε: wait a moment." };
  const small = all.filter((p) => p.size <= state.max_size + 1e-9);
  const good = small.filter((p) => p.clean >= state.min_clean);
  if (good.length) {
    good.sort((a, b) => b.robust - a.robust || b.clean - a.clean || a.size - b.size);
    return { lam: good[0].lam, width: good[0].width };
  }
  if (!small.length) {
    const least = Math.min(...all.map((p) => p.size));
    return { why: `No setting costs at most ${percent(state.max_size, 0)} of the full network: the smallest costs ${percent(least, 0)}.` };
  }
  const best = small.reduce((a, b) => (b.clean > a.clean ? b : a));
  return { why: `No setting of this size has ${percent(state.min_clean, 0)} clean accuracy: the closest is ${percent(best.clean)} at λ = ${short(best.lam)}, width ${short(best.width)}.` };
}

function percent(share, digits = 1) {
  return `${(100 * share).toFixed(digits)} %`;
}

function short(x, digits = 3) {
  return String(+x.toFixed(digits));
}

function count(n) {
  if (n >= 1e6) return `${(n / 1e6).toPrecision(3)} M`;
  return n >= 1e3 ? `${(n / 1e3).toPrecision(3)} k` : String(n);
}
