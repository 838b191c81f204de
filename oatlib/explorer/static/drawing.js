// @ts-check
// How the plot is drawn, as SVG text: clean accuracy to the right, robust accuracy upwards.
/** @import { Comparison, Content, Curve, Mark, Scales } from "./content.js" */
/** @import { Pixel } from "./labels.js" */
/** @import { Description, Point, State, Surface, View } from "./types.js" */
import { curveAttack } from "./curves.js";
import { percent, short } from "./format.js";
import { Labels, subdivide } from "./labels.js";

const COLOURS = 6; // --c0 to --c5 of the style sheet, which colour-blind people can tell apart
const MARK_COST = 0.9; // of the λ of a mark: it is left out where it would hide a point
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];

/**
 * Colour and dashes of a network.
 * @param {Description} description
 * @param {string} name
 */
function lookOf(description, name) {
  const i = Object.keys(description.networks).indexOf(name);
  return {
    colour: `var(--c${i % COLOURS})`,
    dash: DASHES[Math.floor(i / COLOURS) % DASHES.length],
  };
}

/** @param {string} text */
function escaped(text) {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

/**
 * The plot without the current setting, as SVG text.
 * @param {Content} content
 * @param {Description} description
 * @param {Scales} scales
 */
export function drawContent(content, description, scales) {
  const { curves, comparisons, marks, trained } = content;
  const { left, right, top, bottom } = scales.box;
  const size = `width="${right - left}" height="${bottom - top}"`;
  const clip = `viewBox="${left} ${top} ${right - left} ${bottom - top}"`;
  const labels = new Labels(scales.box, crowdOf(content, scales));
  return (
    drawAxes(scales) +
    comparisons.map((line) => drawComparison(line, scales)).join("") +
    curves.map((curve) => drawCurve(curve, lookOf(description, curve.name), scales)).join("") +
    drawNames(curves, labels, scales) +
    `<svg x="${left}" y="${top}" ${size} ${clip}>${drawTrained(trained, scales)}</svg>` +
    marks.map((mark) => drawMark(mark, scales)).join("") +
    drawMarkNames(marks, labels, scales)
  );
}

/**
 * Points that names should not hide: all lines, and the rims of all marks and dots.
 * @param {Content} content
 * @param {Scales} scales
 */
function crowdOf({ curves, comparisons, marks, trained }, { x, y }) {
  /** @type {(points: Point[]) => Pixel[]} */
  const pixels = (points) => points.map((p) => ({ x: x(p.clean), y: y(p.robust) }));
  const main = curves[curves.length - 1];
  const squares = comparisons.flatMap((line) => (line.open ? line.points : []));
  const lines = [...curves, ...comparisons, ...trained];
  return [
    ...lines.flatMap((line) => subdivide(pixels(line.points))),
    ...pixels([...marks, ...main.points, ...squares]).flatMap(rimOf),
  ];
}

/**
 * Points of the box around a mark or a dot.
 * @param {Pixel} centre
 */
function rimOf({ x, y }) {
  const shifts = [-6, 0, 6];
  return shifts.flatMap((h) => shifts.map((v) => ({ x: x + h, y: y + v })));
}

/** @param {Scales} scales */
function drawAxes({ box, x, y, low, end, high, gap }) {
  const { left, right, top, bottom } = box;
  let out = "";
  for (let v = low; v <= end + 0.0001; v += gap) {
    const text = `x="${x(v)}" y="${bottom + 15}" text-anchor="middle"`;
    out += `<line class="grid" x1="${x(v)}" x2="${x(v)}" y1="${top}" y2="${bottom}"/>`;
    out += `<text class="tick" ${text}>${Math.round(v * 100)}</text>`;
  }
  for (let v = 0; v <= high + 0.0001; v += 0.1) {
    const text = `x="${left - 7}" y="${y(v) + 4}" text-anchor="end"`;
    out += `<line class="grid" x1="${left}" x2="${right}" y1="${y(v)}" y2="${y(v)}"/>`;
    out += `<text class="tick" ${text}>${Math.round(v * 100)}</text>`;
  }
  const below = `x="${(left + right) / 2}" y="${bottom + 32}"`;
  const beside = `transform="translate(12 ${(top + bottom) / 2}) rotate(-90)"`;
  out += `<text class="axis" ${below} text-anchor="middle">clean accuracy, % →</text>`;
  return out + `<text class="axis" ${beside} text-anchor="middle">robust accuracy, % →</text>`;
}

/**
 * @param {Point[]} points
 * @param {Scales} scales
 */
function path(points, { x, y }) {
  return points
    .map((p, i) => `${i ? "L" : "M"}${x(p.clean).toFixed(1)} ${y(p.robust).toFixed(1)}`)
    .join("");
}

/** @param {Point} point */
function inPercent({ clean, robust }) {
  return `clean ${percent(clean)}, robust ${percent(robust)}`;
}

/**
 * @param {Curve} curve
 * @param {{ colour: string, dash: string }} look
 * @param {Scales} scales
 */
function drawCurve({ name, width, main, other, points }, { colour, dash }, scales) {
  const { x, y } = scales;
  const title = `<title>${escaped(name)}, width ${short(width)}</title>`;
  /** @type {(p: Point, radius: number, title: string) => string} */
  const dot = (p, radius, title) =>
    `<circle cx="${x(p.clean)}" cy="${y(p.robust)}" r="${radius}" style="fill:${colour}">` +
    `${title}</circle>`;
  if (points.length === 1) return dot(points[0], 5, title); // trained at one λ only
  let kind = "width";
  if (main) kind = "main";
  if (other) kind = "other";
  const line =
    `<path class="curve ${kind}" d="${path(points, scales)}" style="stroke:${colour}" ` +
    `stroke-dasharray="${dash}">${title}</path>`;
  if (!main) return line;
  const dots = points.map((p) =>
    dot(p, 2.5, `<title>λ = ${short(p.lam)}: ${inPercent(p)}</title>`),
  );
  return line + dots.join("");
}

/**
 * @param {Comparison} comparison
 * @param {Scales} scales
 */
function drawComparison({ kind, text, points, open }, scales) {
  const { x, y } = scales;
  const title = `<title>${escaped(text)}</title>`;
  const line = `<path class="${kind}" d="${path(points, scales)}">${title}</path>`;
  /** @param {Point} p */
  const square = (p) => {
    const weight = p.weight === undefined ? "" : `, weight ${short(p.weight)}`;
    return (
      `<rect class="${kind}" x="${x(p.clean) - 3}" y="${y(p.robust) - 3}" width="6" height="6">` +
      `<title>${escaped(text)}${weight}: ${inPercent(p)}</title></rect>`
    );
  };
  const squares = open || points.length === 1 ? points.map(square).join("") : "";
  return (points.length > 1 ? line : "") + squares;
}

/**
 * Write λ at both ends of the main curve, and the other widths at the robust ends of their curves.
 * @param {Curve[]} curves
 * @param {Labels} labels
 * @param {Scales} scales
 */
function drawNames(curves, labels, { x, y }) {
  /** @type {(kind: string, text: string, p: Point) => string} */
  const write = (kind, text, p) => {
    const at = labels.place(text, x(p.clean), y(p.robust));
    return drawText(kind, text, at);
  };
  const named = curves.filter((curve) => curve.points.length > 1 && !curve.other);
  const names = named.map(({ main, width, points }) => {
    const first = points[0];
    const last = points[points.length - 1];
    if (!main) return write("end tick", `width ${short(width)}`, last);
    return [first, last].map((p) => write("end", `λ = ${short(p.lam)}`, p)).join("");
  });
  return names.reverse().join("");
}

/**
 * @param {string} kind
 * @param {string} text
 * @param {Pixel | null} place of its middle; null: it is not written
 */
function drawText(kind, text, place) {
  if (!place) return "";
  const at = `x="${place.x.toFixed(1)}" y="${place.y.toFixed(1)}" text-anchor="middle"`;
  return `<text class="${kind}" ${at}>${text}</text>`;
}

/**
 * The λ of each mark, where there is room beside it.
 * @param {Mark[]} marks
 * @param {Labels} labels
 * @param {Scales} scales
 */
function drawMarkNames(marks, labels, { x, y }) {
  const names = marks.map((mark) => {
    const text = short(mark.lam);
    const at = labels.place(text, x(mark.clean), y(mark.robust), MARK_COST);
    return drawText("end of-mark", text, at);
  });
  return names.join("");
}

/**
 * @param {Mark} mark
 * @param {Scales} scales
 */
function drawMark(mark, scales) {
  const x = scales.x(mark.clean);
  const y = scales.y(mark.robust);
  const diamond = `M${x} ${y - 6}L${x + 6} ${y}L${x} ${y + 6}L${x - 6} ${y}Z`;
  const title = `<title>${escaped(mark.name)}: ${inPercent(mark)}</title>`;
  return `<path class="mark" d="${diamond}">${title}</path>`;
}

/**
 * The frontiers of a network in training. Older ones are fainter.
 * @param {{ points: Point[] }[]} trained
 * @param {Scales} scales
 */
function drawTrained(trained, scales) {
  const { x, y } = scales;
  const lines = trained.map(({ points }, i) => {
    const opacity = 0.12 + (0.88 * (i + 1)) / trained.length;
    const line = `<path class="born" style="opacity:${opacity}" d="${path(points, scales)}"/>`;
    if (i < trained.length - 1) return line;
    const dots = points.map(
      (p) => `<circle class="born-dot" cx="${x(p.clean)}" cy="${y(p.robust)}" r="4"/>`,
    );
    return line + dots.join("");
  });
  return lines.join("");
}

/**
 * The current setting: a ring while it is estimated, a disc when it is measured. The cross is its
 * confidence interval.
 * @param {View} view
 * @param {Scales} scales
 */
export function drawCurrent({ description, state, reading: { clean, robust } }, { x, y, box }) {
  if (clean.value === null || robust.value === null) return "";
  const px = x(clean.value);
  const py = y(robust.value);
  const measured = robust.kind === "measured";
  const { colour } = lookOf(description, state.network);
  const cross =
    `M${Math.max(x(clean.low), box.left)} ${py}H${x(clean.high)}` +
    `M${px} ${y(robust.low)}V${y(robust.high)}`;
  const style = `stroke:${colour};fill:${measured ? colour : "var(--page)"}`;
  return (
    `<g class="here ${measured ? "sure" : "unsure"}" ` +
    `data-x="${px.toFixed(2)}" data-y="${py.toFixed(2)}"><path class="cross" d="${cross}"/>` +
    `<circle cx="${px}" cy="${py}" r="8" style="${style}"/></g>`
  );
}

/**
 * What each line and mark is, and by which attack it was measured. It is shown below the plot,
 * where it hides nothing.
 * @param {View} view
 * @param {Content} content
 */
export function drawLegend({ description, state, surface }, { comparisons, marks, trained }) {
  /** @type {string[]} */
  const rows = [];
  /** @type {(sample: string, text: string) => void} */
  const add = (sample, text) => {
    rows.push(`<span><svg viewBox="0 -6 24 12">${sample}</svg>${escaped(text)}</span>`);
  };
  const compared = state.compare.filter((other) => other !== state.network);
  for (const name of [state.network, ...compared]) {
    const { colour, dash } = lookOf(description, name);
    const hasDial = description.networks[name].stops.length > 1;
    const strokeWidth = name === state.network ? 3 : 2;
    const line =
      `<line x1="0" x2="24" style="stroke:${colour}" stroke-width="${strokeWidth}" ` +
      `stroke-dasharray="${dash}"/>`;
    const dot = `<circle cx="12" r="5" style="fill:${colour}"/>`;
    const text = name === state.network ? mainText(description, state, surface) : name;
    add(hasDial ? line : dot, text);
  }
  for (const { kind, text, points, open } of comparisons) {
    const line = points.length > 1 ? `<path class="${kind}" d="M0 0H24"/>` : "";
    const square = `<rect class="${kind}" x="9" y="-3" width="6" height="6"/>`;
    add(line + (open || points.length === 1 ? square : ""), text);
  }
  if (marks.length)
    add(
      `<path class="mark" d="M12 -5.5L17 0L12 5.5L7 0Z"/>`,
      "networks trained for one λ each, and that λ",
    );
  if (trained.length) add(`<path class="born" d="M1 0H24"/>`, "in training");
  return rows.join("");
}

/**
 * @param {Description} description
 * @param {State} state
 * @param {Surface} surface
 */
function mainText(description, state, surface) {
  const texts = [state.network];
  const attack = curveAttack(surface, state.width, state.eps);
  // Live numbers are of other images than a recorded curve.
  const others = description.live && surface.recorded ? " recorded images" : "";
  if (attack) texts.push(`by the ${description.attackNames[attack]}, n = ${surface.n}${others}`);
  if (description.networks[state.network].widths.length > 1) texts.push("thin: other widths");
  return texts.join(", ");
}
