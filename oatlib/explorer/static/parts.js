// Pieces of the screen.

// make("button", {class: "x", onclick: f, "aria-label": "y"}, children...)
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((c) => c !== null && c !== undefined));
  return element;
}

let serial = 0;

// A labelled control with its explanation in one line: {box, value}, where `value` is what is shown beside the label.
function control(label, input, explanation, part) {
  const id = `oat-${++serial}`, value = make("output", { class: "value" });
  input.setAttribute("aria-describedby", `${id}-why`);
  if (input.tagName === "FIELDSET") input.setAttribute("aria-labelledby", `${id}-label`);
  else input.id = id;
  const title = input.tagName === "FIELDSET" ? make("span", { id: `${id}-label` }, label) : make("label", { for: id }, label);
  const box = make("div", { class: "control", "data-part": part }, make("div", { class: "head" }, title, value), input,
    make("p", { class: "why", id: `${id}-why` }, explanation));
  return { box, value };
}

// One of a few values: radio buttons, so that the arrow keys work. {box, set(values, chosen)}
function stops(name, onchange, write = short) {
  const box = make("fieldset", { class: "stops", role: "radiogroup" }), group = `oat-${name}-${++serial}`;
  let last = "";
  return {
    box,
    set(values, chosen) {
      if (last !== values.join()) {
        last = values.join();
        box.replaceChildren(...values.map((v) => make("label", {},
          make("input", { type: "radio", name: group, value: v, onchange: () => onchange(v) }), make("span", {}, write(v)))));
      }
      box.disabled = values.length < 2;
      for (const input of box.querySelectorAll("input")) input.checked = +input.value === chosen;
    },
  };
}

function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

// Draw pixels (H*W*C bytes), or the change from `before` to them, magnified around grey.
function paint(canvas, pixels, [channels, height, width], before = null, times = 8) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) {
      const at = i * channels + (channels === 1 ? 0 : c);
      image.data[4 * i + c] = before ? 128 + times * (pixels[at] - before[at]) : pixels[at];
    }
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const TIMES = 8; // ±16/255, the largest ε, then just fills the range of grey

function gallery(world) {
  const box = make("div", { class: "gallery", title: world.hint });
  const clean = world.images.map(bytes);
  const cards = world.images.map((_, i) => {
    const canvases = ["image", `change × ${TIMES}`, "attacked"].map((what) => make("canvas", { role: "img", "aria-label": what }));
    const truth = make("p", { class: "truth" }, ...world.captions[i].split(" · ").flatMap((part, k) => [k ? " · " : "", make("span", {}, part)]));
    const [before, now] = [make("p", { class: "said" }), make("p", { class: "said" })];
    paint(canvases[0], clean[i], world.shape);
    const names = ["image", `change ×${TIMES}`, "attacked"].map((what) => make("span", {}, what));
    const card = make("figure", { class: "card" }, make("div", { class: "row" }, ...canvases), make("div", { class: "row names" }, ...names),
      make("figcaption", {}, truth, before, now));
    box.append(card);
    return { card, canvases, before, now };
  });
  let last = null;
  return {
    box,
    show(rows, fresh, note) {
      box.classList.toggle("stale", !fresh);
      box.dataset.note = note || "";
      if (rows === last) return;
      last = rows;
      rows?.forEach((row, i) => {
        if (!row.before) return;
        const pixels = bytes(row.image), { card, canvases, before, now } = cards[i];
        paint(canvases[1], pixels, world.shape, clean[i], TIMES);
        paint(canvases[2], pixels, world.shape);
        say(before, row.before, world, "says: ");
        say(now, row.now, world, row.fell > 0 ? `step ${row.fell}: ` : "attacked: ");
        card.classList.toggle("wrong", !row.now.right);
      });
    },
  };
}

function say(p, { said, sure, right }, world, start) {
  p.replaceChildren(start, make("b", { class: right ? "right" : "wrong" }, `${right ? "✓" : "✗"} ${world.classes[said]} ${Math.round(100 * sure)} %`));
}

// How robust accuracy fell while the attack walked: a small picture.
function drawWalk(svg, seen, steps) {
  const W = 200, H = 52, x = (k) => 4 + (k / Math.max(steps, 1)) * (W - 8), y = (v) => H - 4 - v * (H - 10);
  const line = seen.map(([k, v], i) => `${i ? "L" : "M"}${x(k).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
  svg.innerHTML = `<path class="floor" d="M4 ${H - 4}H${W - 4}"/><path class="walk" d="${line}"/>` +
    seen.slice(-1).map(([k, v]) => `<circle class="walker" cx="${x(k)}" cy="${y(v)}" r="3.5"/>`).join("");
}
