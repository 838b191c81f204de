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

// {clean, robust} at any place of the dials, each null where too little is measured.
function estimate(surface, lam, width, eps) {
  const w = nearest(surface.widths, width);
  const robust = surface.robust[w].map((row) => along(surface.lams, row, lam));
  return { clean: along(surface.lams, surface.clean[w], lam), robust: along(surface.eps, robust, eps) };
}

// The measured points of one width at one eps, along λ.
function frontier(surface, width, eps) {
  return surface.lams
    .map((lam) => ({ lam, ...estimate(surface, lam, width, eps) }))
    .filter((p) => p.clean !== null && p.robust !== null);
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

const FIELDS = ["network", "lam", "width", "eps", "steps", "min_clean", "max_size", "compare"];

function writeState(state) {
  return FIELDS.map((k) => `${k}=${encodeURIComponent(k === "compare" ? state.compare.join(",") : state[k]).replaceAll("%2C", ",").replaceAll("%20", "+")}`).join("&");
}

// The state that a string names, the rest as in `state`; throws an Error that says what cannot be.
function readState(text, state, world) {
  const found = { ...state };
  for (const [key, value] of new URLSearchParams(text.trim().replace(/^[#?]/, ""))) {
    if (!FIELDS.includes(key)) throw new Error(`a state has no "${key}"; it has ${FIELDS.join(", ")}`);
    if (key === "network") found.network = value;
    else if (key === "compare") found.compare = value.split(",").filter(Boolean);
    else if (value.trim() === "" || !isFinite(+value)) throw new Error(`${key} must be a number, got "${value}"`);
    else found[key] = +value;
  }
  for (const name of [found.network, ...found.compare])
    if (!(name in world.networks)) throw new Error(`there is no network "${name}" here; there are ${Object.keys(world.networks).join(", ")}`);
  if (!world.steps.includes(found.steps)) throw new Error(`steps must be one of ${world.steps.join(", ")}`);
  if (!(found.eps >= 0 && found.eps <= world.maxEps)) throw new Error(`eps is in 1/255 and lies in [0, ${world.maxEps}]`);
  for (const key of ["min_clean", "max_size"])
    if (!(found[key] >= 0 && found[key] <= 1)) throw new Error(`${key} is a share in [0, 1]`);
  return fitting(found, world);
}

// The same state on the dials that its network has.
function fitting(state, world) {
  const net = world.networks[state.network], last = net.stops.length - 1;
  const lam = Math.min(Math.max(state.lam, net.stops[0]), net.stops[last]);
  return { ...state, lam, width: net.widths[nearest(net.widths, state.width)] };
}
