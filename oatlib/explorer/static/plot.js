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

// The lines that a network is compared with, each {kind, text, points, open}: `open` points are drawn as squares.
function comparisons(world, state, surface, main) {
  const found = [], add = (kind, text, points, open = false) => { if (points?.length) found.push({ kind, text, points, open }); };
  const { best, bestEps } = world.reference || {}, { mixed } = surface;
  if (best && state.eps >= bestEps) add("best", "best possible", best.map(([clean, robust]) => ({ clean, robust })));
  add("coin", "coin: for each image one of its two ends", coinEnds(surface, main));
  add("weak", "PGD-20, an upper bound", frontier(surface, state.width, state.eps, "pgd-20"));
  if (mixed && state.eps === mixed.eps && state.width === surface.widths.at(-1))
    add("mixed", "outputs of its two ends, mixed", mixed.points.map(([weight, clean, robust]) => ({ weight, clean, robust })), true);
  return found;
}

// Draw the picture and its legend. Returns the scales, so that others can find places in the picture.
function drawPlot(svg, legend, world, state, surfaces, shown, training) {
  const W = svg.clientWidth || 560, H = svg.clientHeight || 340;
  const box = { left: 46, right: W - 12, top: 12, bottom: H - 38 };
  const curves = curvesOf(world, state, surfaces), marks = marksOf(world, state);
  const others = comparisons(world, state, surfaces[state.network], curves.at(-1).points);
  const current = underWay(training) || training?.name === state.network;
  const born = current ? training.frontiers || [] : [];
  const all = [...[...curves, ...others, ...born.slice(-1)].flatMap((c) => c.points), ...marks];
  if (shown.clean.value !== null) all.push({ clean: shown.clean.value, robust: shown.robust.value || 0 });
  const least = Math.min(0.9, ...all.map((p) => p.clean)), most = Math.max(0.5, ...all.map((p) => p.robust));
  const gap = least < 0.55 ? 0.1 : 0.05; // of the lines across
  const low = Math.max(0, Math.floor((least - 0.02) / gap) * gap), high = Math.min(1, Math.ceil((most + 0.03) * 10) / 10);
  const x = (share) => box.left + ((share - low) / (1.005 - low)) * (box.right - box.left);
  const y = (share) => box.bottom - (share / high) * (box.bottom - box.top);
  const dots = [...curves.at(-1).points, ...others.flatMap((c) => (c.open ? c.points : []))];
  const rim = (p) => [[0, 0], [6, 0], [-6, 0], [0, 6], [0, -6]].map(([dx, dy]) => ({ x: p.x + dx, y: p.y + dy })); // of a mark
  const pixels = (points) => points.map((p) => ({ x: x(p.clean), y: y(p.robust) }));
  const crowd = [...[...curves, ...others, ...born].flatMap((c) => dense(pixels(c.points))), ...pixels([...marks, ...dots]).flatMap(rim)];
  const labels = new Labels(box, crowd);
  const still = axes(box, x, y, low, high, gap) + others.map((c) => comparison(c, x, y)).join("") +
    curves.map((c) => curve(c, world, x, y)).join("") + names(curves, labels, x, y) +
    `<svg x="${box.left}" y="${box.top}" width="${box.right - box.left}" height="${box.bottom - box.top}" viewBox="${box.left} ${box.top} ${box.right - box.left} ${box.bottom - box.top}">${bornLines(born, x, y)}</svg>` + marks.map((m) => mark(m, x, y)).join("");
  if (svg.still !== still) { // most moves only move the point
    svg.still = still;
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    svg.innerHTML = `<g>${still}</g><g></g>`;
  }
  const rows = legendOf(world, state, surfaces[state.network], others, marks, born);
  if (legend.innerHTML !== rows) legend.innerHTML = rows;
  svg.lastChild.innerHTML = here(shown, x, y, box, lookOf(world, state.network).colour);
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
  if (c.main)
    for (const p of c.points)
      out += `<circle cx="${x(p.clean)}" cy="${y(p.robust)}" r="2.5" style="fill:${look.colour}"><title>λ = ${short(p.lam)}: clean ${percent(p.clean)}, robust ${percent(p.robust)}</title></circle>`;
  return out;
}

function comparison({ kind, text, points, open }, x, y) {
  const line = points.length > 1 ? `<path class="${kind}" d="${path(points, x, y)}"><title>${escaped(text)}</title></path>` : "";
  const dot = (p) => `<rect class="${kind}" x="${x(p.clean) - 3}" y="${y(p.robust) - 3}" width="6" height="6"><title>${escaped(text)}${"weight" in p ? `, weight ${short(p.weight)}` : ""}: clean ${percent(p.clean)}, robust ${percent(p.robust)}</title></rect>`;
  return line + (open || points.length === 1 ? points.map(dot).join("") : "");
}

// λ at both ends of the main curve, and the other widths at the robust ends of theirs, where they lie apart.
function names(curves, labels, x, y) {
  const write = (kind, text, p) => {
    const at = labels.place(text, x(p.clean), y(p.robust));
    return `<text class="${kind}" x="${at.x.toFixed(1)}" y="${at.y.toFixed(1)}" text-anchor="${at.anchor}">${text}</text>`;
  };
  const drawn = curves.filter((c) => c.points.length > 1 && !c.other);
  return drawn.map((c) => (c.main
    ? [c.points[0], c.points.at(-1)].map((p) => write("end", `λ = ${short(p.lam)}`, p)).join("")
    : write("end tick", `width ${short(c.width)}`, c.points.at(-1)))).reverse().join("");
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
function here(shown, x, y, box, colour) {
  const { clean, robust } = shown;
  if (clean.value === null || robust.value === null) return "";
  const px = x(clean.value), py = y(robust.value), sure = robust.kind === "measured" ? "sure" : "unsure";
  const cross = `<path class="cross" d="M${Math.max(x(clean.low), box.left)} ${py}H${x(clean.high)}M${px} ${y(robust.low)}V${y(robust.high)}"/>`;
  return `<g class="here ${sure}" data-x="${px.toFixed(2)}" data-y="${py.toFixed(2)}">${cross}<circle cx="${px}" cy="${py}" r="8" style="stroke:${colour};fill:${sure === "sure" ? colour : "var(--page)"}"/></g>`;
}

// Below the picture, where it hides nothing: what each line and mark is, and by which attack it was measured.
function legendOf(world, state, surface, others, marks, born) {
  const rows = [], add = (sample, text) => rows.push(`<span><svg viewBox="0 -6 24 12">${sample}</svg>${escaped(text)}</span>`);
  const attack = attackOf(surface, state.width, state.eps);
  for (const name of [state.network, ...state.compare.filter((other) => other !== state.network)]) {
    const { colour, dash } = lookOf(world, name), net = world.networks[name], first = name === state.network;
    const line = `<line x1="0" x2="24" style="stroke:${colour}" stroke-width="${first ? 3 : 2}" stroke-dasharray="${dash}"/>`;
    const about = [name, first && attack ? `by the ${world.attackNames[attack]}` : "", first && net.widths.length > 1 ? "thin: other widths" : ""];
    add(net.stops.length > 1 ? line : `<circle cx="12" r="5" style="fill:${colour}"/>`, about.filter(Boolean).join(", "));
  }
  for (const { kind, text, points, open } of others) {
    const dot = open || points.length === 1 ? `<rect class="${kind}" x="9" y="-3" width="6" height="6"/>` : "";
    add((points.length > 1 ? `<path class="${kind}" d="M0 0H24"/>` : "") + dot, text);
  }
  if (marks.length) add(`<path class="mark" d="M12 -5.5L17 0L12 5.5L7 0Z"/>`, "one network for one λ each");
  if (born.length) add(`<path class="born" d="M1 0H24"/>`, "in training");
  return rows.join("");
}
