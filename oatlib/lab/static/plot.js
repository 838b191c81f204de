// The trade-off: clean accuracy to the right, robust accuracy upwards, every setting a point.

const COLOURS = 6; // --c0 to --c5 of the style sheet, told apart by all kinds of eyes
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];

function lookOf(world, name) {
  const i = Object.keys(world.networks).indexOf(name);
  return { colour: `var(--c${i % COLOURS})`, dash: DASHES[Math.floor(i / COLOURS) % DASHES.length] };
}

function escaped(text) {
  return String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
}

// A training that can go on.
function underWay(training) {
  return ["running", "paused"].includes(training?.status);
}

// All curves that the picture shows: [{name, width, points, main}]
function curvesOf(world, state, surfaces) {
  const own = world.networks[state.network].widths.map((width) => ({ name: state.network, width, main: width === state.width }));
  const others = state.compare.filter((name) => name !== state.network)
    .map((name) => ({ name, width: world.networks[name].widths.at(-1), main: false, other: true }));
  return [...others, ...own.filter((c) => !c.main), ...own.filter((c) => c.main)]
    .map((c) => ({ ...c, points: frontier(surfaces[c.name], c.width, state.eps) }));
}

function marksOf(world, state) {
  return (world.marks || []).map((m) => ({ ...m, robust: along(m.eps, m.robust, state.eps) })).filter((m) => m.robust !== null);
}

// Returns the scales, so that others can find places in the picture.
function drawPlot(svg, world, state, surfaces, shown, training) {
  const W = svg.clientWidth || 560, H = svg.clientHeight || 360;
  const box = { left: 46, right: W - 12, top: 12, bottom: H - 38 };
  const curves = curvesOf(world, state, surfaces), marks = marksOf(world, state);
  const current = underWay(training) || training?.name === state.network;
  const born = current ? training.frontiers || [] : [];
  const all = [...curves.flatMap((c) => c.points), ...marks, ...born.slice(-1).flatMap((f) => f.points)];
  if (shown.clean.value !== null) all.push({ clean: shown.clean.value, robust: shown.robust.value || 0 });
  const least = Math.min(0.9, ...all.map((p) => p.clean)), most = Math.max(0.5, ...all.map((p) => p.robust));
  const gap = least < 0.55 ? 0.1 : 0.05; // of the lines across
  const low = Math.max(0, Math.floor((least - 0.02) / gap) * gap), high = Math.min(1, Math.ceil((most + 0.03) * 10) / 10);
  const x = (share) => box.left + ((share - low) / (1.005 - low)) * (box.right - box.left);
  const y = (share) => box.bottom - (share / high) * (box.bottom - box.top);
  const crowd = [...curves.flatMap((c) => dense(c.points)), ...marks, ...born.flatMap((f) => dense(f.points))]
    .map((p) => ({ x: x(p.clean), y: y(p.robust) }));
  const still = axes(box, x, y, low, high, gap) + curves.map((c) => curve(c, world, x, y)).join("") + widthNames(curves, x, y) +
    `<svg x="${box.left}" y="${box.top}" width="${box.right - box.left}" height="${box.bottom - box.top}" viewBox="${box.left} ${box.top} ${box.right - box.left} ${box.bottom - box.top}">${bornLines(born, x, y)}</svg>` + marks.map((m) => mark(m, x, y)).join("") + legend(curves, marks, born, world, state, box, crowd);
  if (svg.still !== still) { // most moves only move the point
    svg.still = still;
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    svg.innerHTML = `<g>${still}</g><g></g>`;
  }
  svg.lastChild.innerHTML = here(shown, x, y, lookOf(world, state.network).colour);
  return { x, y, curve: curves.at(-1) };
}

function axes(box, x, y, low, high, gap) {
  let out = "";
  for (let v = low; v <= 1.0001; v += gap)
    out += `<line class="grid" x1="${x(v)}" x2="${x(v)}" y1="${box.top}" y2="${box.bottom}"/><text class="tick" x="${x(v)}" y="${box.bottom + 15}" text-anchor="middle">${Math.round(v * 100)}</text>`;
  for (let v = 0; v <= high + 0.0001; v += 0.1)
    out += `<line class="grid" x1="${box.left}" x2="${box.right}" y1="${y(v)}" y2="${y(v)}"/><text class="tick" x="${box.left - 7}" y="${y(v) + 4}" text-anchor="end">${Math.round(v * 100)}</text>`;
  out += `<text class="axis" x="${(box.left + box.right) / 2}" y="${box.bottom + 32}" text-anchor="middle">clean accuracy, % →</text>`;
  const middle = (box.top + box.bottom) / 2;
  return out + `<text class="axis" transform="translate(12 ${middle}) rotate(-90)" text-anchor="middle">robust accuracy, % →</text>`;
}

function path(points, x, y) {
  return points.map((p, i) => `${i ? "L" : "M"}${x(p.clean).toFixed(1)} ${y(p.robust).toFixed(1)}`).join("");
}

function curve(c, world, x, y) {
  const look = lookOf(world, c.name), title = `<title>${escaped(c.name)}, width ${short(c.width)}</title>`;
  if (c.points.length === 1) // trained at one λ only
    return `<circle cx="${x(c.points[0].clean)}" cy="${y(c.points[0].robust)}" r="5" style="fill:${look.colour}">${title}</circle>`;
  let out = `<path class="curve ${c.main ? "main" : c.other ? "other" : "width"}" d="${path(c.points, x, y)}" style="stroke:${look.colour}" stroke-dasharray="${look.dash}">${title}</path>`;
  if (c.main && c.points.length > 1) out += ends(c.points, x, y);
  if (c.main)
    for (const p of c.points)
      out += `<circle cx="${x(p.clean)}" cy="${y(p.robust)}" r="2.5" style="fill:${look.colour}"><title>λ = ${short(p.lam)}: clean ${percent(p.clean)}, robust ${percent(p.robust)}</title></circle>`;
  return out;
}

// At the robust ends, where the widths lie apart; a line of text apart at least.
function widthNames(curves, x, y) {
  const named = curves.filter((c) => c.points.length > 1 && !c.main && !c.other)
    .map((c) => ({ width: c.width, px: x(c.points.at(-1).clean) - 5, py: y(c.points.at(-1).robust) + 4 })).sort((a, b) => a.py - b.py);
  named.forEach((name, i) => { if (i) name.py = Math.max(name.py, named[i - 1].py + 12); });
  return named.map(({ width, px, py }) => `<text class="tick" x="${px}" y="${py}" text-anchor="end">width ${short(width)}</text>`).join("");
}

function ends(points, x, y) {
  const label = (p, dx, dy, anchor) => `<text class="end" x="${x(p.clean) + dx}" y="${y(p.robust) + dy}" text-anchor="${anchor}">λ = ${short(p.lam)}</text>`;
  return label(points[0], -4, -10, "end") + label(points.at(-1), 10, 4, "start");
}

function mark(m, x, y) {
  const px = x(m.clean), py = y(m.robust);
  return `<path class="mark" d="M${px} ${py - 6}L${px + 6} ${py}L${px} ${py + 6}L${px - 6} ${py}Z"><title>${escaped(m.name)}: clean ${percent(m.clean)}, robust ${percent(m.robust)}</title></path>`;
}

// The frontier of a network in training, older ones fainter.
function bornLines(born, x, y) {
  return born.map((f, i) => {
    const last = i === born.length - 1;
    const dots = last ? f.points.map((p) => `<circle class="born-dot" cx="${x(p.clean)}" cy="${y(p.robust)}" r="4"/>`).join("") : "";
    return `<path class="born" style="opacity:${0.12 + (0.88 * (i + 1)) / born.length}" d="${path(f.points, x, y)}"/>${dots}`;
  }).join("");
}

// The current setting: a ring while it is estimated, a disc when it is measured; the cross is its interval.
function here(shown, x, y, colour) {
  const { clean, robust } = shown;
  if (clean.value === null || robust.value === null) return "";
  const px = x(clean.value), py = y(robust.value), sure = robust.kind === "measured" ? "sure" : "unsure";
  const cross = `<path class="cross" d="M${x(clean.low)} ${py}H${x(clean.high)}M${px} ${y(robust.low)}V${y(robust.high)}"/>`;
  return `<g class="here ${sure}" data-x="${px.toFixed(2)}" data-y="${py.toFixed(2)}">${cross}<circle cx="${px}" cy="${py}" r="8" style="stroke:${colour};fill:${sure === "sure" ? colour : "var(--page)"}"/></g>`;
}

// A line as many points.
function dense(points) {
  return points.flatMap((p, i) => (i ? Array.from({ length: 20 }, (_, k) => {
    const from = points[i - 1], t = (k + 1) / 20;
    return { clean: from.clean + t * (p.clean - from.clean), robust: from.robust + t * (p.robust - from.robust) };
  }) : [p]));
}

// Below left, or in the upper corner that hides less of the `crowd` of points.
function legend(curves, marks, born, world, state, box, crowd) {
  const rows = [];
  const names = [state.network, ...state.compare.filter((name) => name !== state.network)];
  for (const name of names) {
    const { colour, dash } = lookOf(world, name), dial = world.networks[name].stops.length > 1;
    const sample = dial ? `<line x1="0" x2="22" style="stroke:${colour}" stroke-width="2.5" stroke-dasharray="${dash}"/>` : `<circle cx="11" r="5" style="fill:${colour}"/>`;
    rows.push([sample, name + (name === state.network && world.networks[name].widths.length > 1 ? ", thin: its other widths" : "")]);
  }
  if (marks.length) rows.push([`<path class="mark" d="M11 -6L17 0L11 6L5 0Z"/>`, "one network for one λ each"]);
  if (born.length) rows.push([`<line class="born" x1="0" x2="22"/>`, "in training"]);
  const wide = 38 + 6.5 * Math.max(...rows.map((r) => r[1].length)), tall = 17 * rows.length + 6;
  const corners = [[box.left + 4, box.bottom - tall + 1], [box.right - wide, box.top], [box.left + 4, box.top]];
  const hidden = corners.map(([left, top]) => crowd.filter((p) => p.x > left && p.x < left + wide && p.y > top && p.y < top + tall).length);
  const [left, top] = corners[hidden.indexOf(Math.min(...hidden))];
  return `<g class="legend"><rect x="${left}" y="${top}" width="${wide}" height="${tall}" rx="4"/>` +
    rows.map(([sample, text], i) => `<g transform="translate(${left + 6} ${top + 12 + 17 * i})">${sample}<text x="28" y="4">${escaped(text)}</text></g>`).join("") + "</g>";
}
