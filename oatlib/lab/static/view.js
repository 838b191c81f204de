// The screen. `model` is the widget's, or its stand-in on a page without a kernel: get, set, save_changes, on, send.

const TOLD = "change:world change:surfaces change:live change:training change:error change:pace".split(" ");
const QUIET = 150; // ms without a move after which a hand that still holds a slider is taken to rest

function render({ model, el }) {
  const view = new View(model, el);
  view.draw();
  return () => view.close();
}

class View {
  constructor(model, el) {
    this.model = model;
    this.state = model.get("controls");
    this.walk = { key: "", seen: [] };
    this.moved = 0; // when the last move of a held slider was
    this.root = make("section", { class: "oat", role: "region", "aria-label": "oatlib explorer" });
    this.build();
    el.replaceChildren(this.root);
    this.listen();
    if (this.world.page && location.hash.length > 1) this.paste(location.hash);
  }

  get world() { return this.model.get("world"); }
  get net() { return this.world.networks[this.state.network]; }

  // --- what is on it ---

  build() {
    const hidden = this.world.hide || [], part = (name, piece) => (hidden.includes(name) ? null : piece);
    const live = this.world.live;
    this.error = make("p", { class: "error", role: "alert", hidden: true });
    this.heard = make("p", { class: "heard", "aria-live": "polite" });
    this.plot = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.plot.setAttribute("class", "plot");
    this.plot.setAttribute("role", "img");
    this.buildControls();
    this.buildReadout();
    const controls = make("div", { class: "controls" }, part("network", this.network.box), part("lam", this.lam.box), part("width", this.width.box),
      part("eps", this.eps.box), part("attack", this.attack), part("choose", this.chooser));
    const middle = make("div", { class: "middle" }, this.plot);
    this.root.append(...[this.buildTop(hidden), this.error, this.heard,
      make("div", { class: "main" }, controls, middle, this.readout), this.buildBottom(hidden, live)].filter(Boolean));
  }

  buildTop(hidden) {
    const { world } = this;
    const copy = make("button", { type: "button", onclick: () => this.copy() }, "copy state");
    this.text = make("input", { class: "state", "aria-label": "state: copy it, or paste one and press Enter", title: "copy it, or paste one and press Enter",
      spellcheck: "false", onchange: () => this.paste(), onfocus: () => this.text.select() });
    this.theme = make("button", { type: "button", onclick: () => this.turnTheme(), title: "light, dark, or as the system has it" }, "theme: auto");
    const facts = `${world.data}, ${world.n} ${{ val: "validation", train: "training" }[world.split] || world.split} images`;
    return make("header", { class: "top" }, make("strong", {}, "oatlib explorer"),
      make("span", { class: world.live ? "" : "frozen" }, world.live ? facts : `precomputed, without a kernel · ${facts}`),
      hidden.includes("state") ? null : this.text, hidden.includes("state") ? null : copy, this.theme);
  }

  buildControls() {
    const slider = (attributes, onmove) => make("input", { type: "range", ...attributes, oninput: onmove,
      onpointerdown: () => { this.held = true; }, onpointerup: () => this.release(), onpointercancel: () => this.release() });
    this.select = make("select", { onchange: () => this.move({ network: this.select.value }) });
    this.network = control("network", this.select, "a recipe, trained once; the dials below move it", "network");
    this.compare = make("details", { class: "compare" }, make("summary", { title: "draw the curves of other networks, too" }, "compare"), make("div", { class: "list" }));
    this.network.box.querySelector(".head").append(this.compare);
    this.slider = slider({ min: 0, max: 100, step: 1 }, () => this.move({ lam: +lamOf(this.net.slider, this.slider.value / 100).toFixed(4) }));
    this.lam = control("robustness λ", this.slider, "left: accurate as it is · right: withstands attacks", "lam");
    this.widths = stops("width", (width) => this.move({ width }));
    this.width = control("width", this.widths.box, "share of the channels that run: small and fast", "width");
    this.ball = slider({ min: 0, max: this.world.maxEps, step: 1 }, () => this.move({ eps: +this.ball.value }));
    this.eps = control("attack size ε", this.ball, "how far a pixel may be moved, of 255 levels", "eps");
    this.stepping = stops("steps", (steps) => this.move({ steps }), String);
    const attack = control("PGD steps", this.stepping.box, "of the attack: the more, the stronger", "attack");
    this.steps = attack.value;
    const button = (label, about, act) => make("button", { type: "button", title: about, "aria-label": about, onclick: act }, label);
    this.play = button("pause", "pause the attack", () => this.setPace(this.model.get("pace") === "pause" ? "run" : "pause"));
    this.slow = button("slow", "let the attack walk slowly enough to watch", () => this.setPace(this.model.get("pace") === "slow" ? "run" : "slow"));
    this.once = button("+1", "one attack step (pauses first)", () => { this.setPace("pause"); this.model.send({ do: "step" }); });
    if (this.world.live) attack.box.querySelector(".head").append(make("span", { class: "walker" }, this.play, this.once, this.slow));
    this.attack = attack.box;
    this.buildChooser();
  }

  buildChooser() {
    const field = (key, label) => {
      const input = make("input", { type: "number", min: 0, max: 100, step: 1, "aria-label": label,
        onchange: () => this.move({ [key]: Math.min(1, Math.max(0, (+input.value || 0) / 100)) }) });
      return input;
    };
    this.minClean = field("min_clean", "least clean accuracy in per cent");
    this.maxSize = field("max_size", "most multiply-adds in per cent of the full network");
    const go = make("button", { type: "button", onclick: () => this.choose() }, "choose for me");
    this.answer = make("p", { class: "why", role: "status" }, "the most robust measured setting within limits");
    this.chooser = make("div", { class: "control choose", "data-part": "choose" }, make("div", { class: "limits" },
      make("label", {}, "clean ≥ ", this.minClean, " %"), make("label", {}, "cost ≤ ", this.maxSize, " %"), go), this.answer);
  }

  buildReadout() {
    const number = (name) => {
      const value = make("output", { class: "big", "data-number": name }), range = make("span", { class: "range" });
      return { value, range, box: make("div", { class: "number" }, make("span", { class: "name" }, `${name} accuracy`), value, range) };
    };
    this.numbers = { clean: number("clean"), robust: number("robust") };
    this.phase = make("p", { class: "phase" });
    this.walkPlot = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.walkPlot.setAttribute("class", "walkplot");
    this.walkPlot.setAttribute("aria-hidden", "true");
    this.price = make("div", { class: "price" });
    const hidden = this.world.hide || [];
    this.readout = make("div", { class: "readout" }, this.numbers.clean.box, this.numbers.robust.box, this.phase,
      hidden.includes("attack") || !this.world.live ? null : this.walkPlot, hidden.includes("price") ? null : this.price);
  }

  buildBottom(hidden, live) {
    this.gallery = gallery(this.world);
    this.trainingView = this.buildTraining();
    const panes = { gallery: this.gallery.box, training: this.trainingView };
    const names = ["gallery", "training"].filter((name) => !hidden.includes(name) && (live || name === "gallery"));
    if (!names.length) return null;
    this.tabs = {};
    const bar = make("div", { class: "tabs", role: "tablist", "aria-label": "below the picture" });
    const bottom = make("div", { class: "bottom" }, names.length > 1 ? bar : null);
    for (const name of names) {
      this.tabs[name] = make("button", { type: "button", role: "tab", onclick: () => this.showTab(name) },
        { gallery: "six images under attack", training: "train one here" }[name]);
      bar.append(this.tabs[name]);
      panes[name].setAttribute("role", names.length > 1 ? "tabpanel" : "group");
      bottom.append(panes[name]);
    }
    bar.addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      const other = names.find((name) => this.tabs[name].getAttribute("aria-selected") !== "true");
      this.showTab(other);
      this.tabs[other].focus();
    });
    this.panes = panes;
    this.showTab(names[0]);
    return bottom;
  }

  buildTraining() {
    const send = (what) => () => this.model.send({ do: what });
    const button = (label, act) => make("button", { type: "button", onclick: act }, label);
    this.recipe = make("select", { "aria-label": "recipe" }, ...(this.world.recipes || []).map((name) => make("option", { value: name, selected: name === "oat" }, name)));
    this.epochs = make("input", { type: "number", min: 1, max: this.world.maxEpochs, value: 8, "aria-label": "epochs" });
    this.train = {
      start: button("start", () => this.model.send({ do: "train", recipe: this.recipe.value, epochs: Math.round(+this.epochs.value) })),
      pause: button("pause", send("train-pause")), resume: button("resume", send("train-resume")),
      step: button("one step", send("train-step")), stop: button("stop and keep", send("train-stop")),
    };
    this.bar = make("progress", { max: 1, value: 0, "aria-label": "training" });
    this.trained = make("p", { class: "phase", role: "status" });
    return make("div", { class: "training" }, make("div", { class: "limits" }, make("label", {}, "recipe ", this.recipe),
      make("label", {}, "epochs ", this.epochs), ...Object.values(this.train)), this.bar, this.trained,
      make("p", { class: "why" }, "Training runs in the pauses of everything else. Its frontier grows in the picture above; when it ends, the network joins the list."));
  }

  showTab(name) {
    for (const [key, tab] of Object.entries(this.tabs)) {
      tab.setAttribute("aria-selected", key === name);
      tab.tabIndex = key === name ? 0 : -1;
      this.panes[key].hidden = key !== name;
    }
  }

  // --- what happens ---

  listen() {
    this.onControls = () => { this.state = this.model.get("controls"); this.draw(); };
    this.onTold = () => this.draw();
    this.model.on("change:controls", this.onControls);
    TOLD.forEach((event) => this.model.on(event, this.onTold));
    this.onKey = (event) => {
      if (event.key === "Escape") this.compare.open = false;
      event.stopPropagation(); // JupyterLab would take the arrow keys for its own
    };
    this.root.addEventListener("keydown", this.onKey);
    this.plot.addEventListener("pointerdown", (event) => { this.held = true; this.plot.setPointerCapture(event.pointerId); this.drag(event); });
    this.plot.addEventListener("pointermove", (event) => { if (event.buttons && this.held) this.drag(event); });
    this.plot.addEventListener("pointerup", () => this.release());
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.plot);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.onTheme = () => this.dress();
    this.dark.addEventListener("change", this.onTheme);
    this.repainted = new MutationObserver(this.onTheme);
    this.repainted.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    this.dress();
  }

  close() {
    this.model.off("change:controls", this.onControls);
    TOLD.forEach((event) => this.model.off(event, this.onTold));
    this.resized.disconnect();
    this.repainted.disconnect();
    this.dark.removeEventListener("change", this.onTheme);
    clearTimeout(this.rest);
  }

  // Move the dials: what is known is drawn at once, what is not will be measured.
  move(change) {
    this.state = fitting({ ...this.state, ...change }, this.world);
    this.moved = performance.now();
    this.answer.textContent = "the most robust measured setting within limits";
    this.fault = "";
    this.model.set("controls", this.state);
    this.model.save_changes();
    if (this.world.page) history.replaceState(null, "", `#${writeState(this.state)}`);
    this.draw();
  }

  // While a hand moves a slider only the curve is shown: numbers that start anew with every move would flicker.
  get moving() {
    return this.held && performance.now() - this.moved < QUIET;
  }

  release() {
    this.held = false;
    this.draw();
  }

  // The pointer in the picture takes the setting along its curve.
  drag(event) {
    if (!this.scales || this.net.stops.length < 2) return;
    const box = this.plot.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    let best = null;
    for (let i = 0; i <= 200; i++) {
      const lam = lamOf(this.net.slider, i / 200), at = estimate(this.model.get("surfaces")[this.state.network], lam, this.state.width, this.state.eps);
      if (at.clean === null || at.robust === null) continue;
      const away = Math.hypot(this.scales.x(at.clean) - px, this.scales.y(at.robust) - py);
      if (!best || away < best.away) best = { lam, away };
    }
    if (best) this.move({ lam: +best.lam.toFixed(4) });
  }

  setPace(pace) {
    this.model.set("pace", pace);
    this.model.save_changes();
    this.draw();
  }

  choose() {
    const found = choose(this.net, this.model.get("surfaces")[this.state.network], this.state);
    if (found.why) { this.answer.textContent = found.why; return; }
    this.move(found);
    this.answer.textContent = `moved to λ = ${short(found.lam)}, width ${short(found.width)}`;
  }

  async copy() {
    this.text.focus();
    this.text.select();
    try {
      await navigator.clipboard.writeText(this.text.value);
      this.say("state copied");
    } catch {
      this.say("press Ctrl+C: the browser does not let this page copy");
    }
  }

  paste(text = this.text.value) {
    try {
      this.move(readState(text, this.state, this.world));
      this.text.value = writeState(this.state);
    } catch (error) {
      this.fault = `The state “${text}” cannot be taken: ${error.message}`;
    }
    this.draw();
  }

  turnTheme() {
    const order = ["auto", "light", "dark"];
    this.wanted = order[(order.indexOf(this.wanted || "auto") + 1) % 3];
    this.dress();
  }

  dress() {
    const lab = this.world.page ? undefined : document.body.dataset.jpThemeLight;
    const auto = lab === "false" || (lab === undefined && this.dark.matches) ? "dark" : "light";
    const wanted = this.wanted || "auto";
    this.root.dataset.theme = wanted === "auto" ? auto : wanted;
    this.theme.textContent = `theme: ${wanted}`;
    if (this.world.page) document.body.style.background = getComputedStyle(this.root).backgroundColor;
  }

  say(words) {
    this.heard.textContent = words;
  }

  complain(words) {
    this.error.textContent = words;
    this.error.hidden = !words;
  }

  // --- what is shown ---

  // Clean and robust accuracy as far as they are known, and how: measured, falling (still under attack), or estimated.
  look() {
    const { state, world } = this, live = this.model.get("live"), surface = this.model.get("surfaces")[state.network];
    const [network, lam, width, eps, steps] = live.key || [];
    const same = network === state.network && lam === state.lam && width === state.width;
    const exact = same && eps === state.eps && steps === state.steps, guess = estimate(surface, state.lam, state.width, state.eps);
    const number = (value, kind) => {
      const [low, high] = value === null ? [null, null] : wilson(value, world.n);
      return { value, low, high, kind: value === null ? "none" : kind };
    };
    const settled = exact && live.phase === "settled", walking = exact && live.phase === "walk" && !this.moving;
    const clean = same && !this.moving ? number(live.clean, "measured") : number(guess.clean, "estimated");
    const robust = settled ? number(live.robust, "measured") : walking ? number(live.robust, "falling") : number(guess.robust, "estimated");
    return { clean, robust, live: exact ? live : null, same, settled, walking };
  }

  draw() {
    const { world, state } = this, shown = this.look(), surfaces = this.model.get("surfaces");
    this.drawControls();
    this.drawNumbers(shown);
    this.scales = drawPlot(this.plot, world, state, surfaces, shown, this.model.get("training"));
    this.plot.setAttribute("aria-label", this.inWords(shown));
    if (world.live) this.drawWalk(shown);
    this.drawGallery(shown);
    this.drawTraining();
    this.complain(this.fault || this.model.get("error"));
    if (document.activeElement !== this.text) this.text.value = writeState(state);
    this.root.dataset.phase = shown.settled ? "settled" : shown.walking ? "walk" : "estimate";
    clearTimeout(this.rest);
    if (this.moving) this.rest = setTimeout(() => this.draw(), QUIET + 10); // the hand has come to rest
  }

  drawControls() {
    const { world, state, net } = this, names = Object.keys(world.networks);
    if (this.select.length !== names.length) {
      this.select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
      this.compare.querySelector(".list").replaceChildren(...names.map((name) => make("label", {}, make("input", { type: "checkbox", value: name,
        onchange: () => this.move({ compare: [...this.compare.querySelectorAll("input:checked")].map((i) => i.value) }) }), name)));
    }
    this.select.value = state.network;
    for (const input of this.compare.querySelectorAll("input")) input.checked = state.compare.includes(input.value);
    const dial = net.stops.length > 1;
    this.slider.disabled = !dial;
    this.slider.value = dial ? 100 * positionOf(net.slider, state.lam) : 0;
    this.slider.setAttribute("aria-valuetext", `λ ${short(state.lam)}`);
    this.lam.value.textContent = dial ? `λ = ${short(state.lam)}` : `trained at λ = ${short(state.lam)} only`;
    this.widths.set(net.widths, state.width);
    this.width.value.textContent = net.widths.length > 1 ? "" : "one width only";
    this.ball.value = state.eps;
    this.ball.setAttribute("aria-valuetext", `${short(state.eps)} of 255`);
    this.eps.value.textContent = `${short(state.eps)}/255`;
    this.stepping.set(world.live ? world.steps : [world.surfaceSteps], world.live ? state.steps : world.surfaceSteps);
    const pace = this.model.get("pace");
    this.play.textContent = pace === "pause" ? "go on" : "pause";
    this.play.setAttribute("aria-label", pace === "pause" ? "let the attack go on" : "pause the attack");
    this.play.title = this.play.getAttribute("aria-label");
    this.slow.setAttribute("aria-pressed", pace === "slow");
    for (const [input, share] of [[this.minClean, state.min_clean], [this.maxSize, state.max_size]])
      if (document.activeElement !== input) input.value = Math.round(100 * share);
  }

  drawNumbers(shown) {
    const { world, state, net } = this, live = shown.live;
    for (const name of ["clean", "robust"]) {
      const { value, low, high, kind } = shown[name], { box } = this.numbers[name];
      this.numbers[name].value.textContent = value === null ? "–" : (kind === "estimated" ? "≈ " : "") + percent(value);
      this.numbers[name].range.textContent = value === null ? "measuring" : `${percent(low)} to ${percent(high)}`;
      box.dataset.kind = kind;
    }
    const attack = state.eps ? `PGD-${state.steps}` : "no attack at ε = 0";
    const pause = this.model.get("pace") === "pause" ? ", paused" : "";
    this.phase.textContent = shown.settled ? `measured: ${attack}, n = ${world.n}` + (net.noisy ? ", one draw of the noise" : "")
      : shown.walking || (live && pause) ? `PGD step ${Math.max(0, live.step)} of ${live.steps}${pause}, n = ${world.n}`
      : !world.live ? `precomputed: PGD-${world.surfaceSteps}, n = ${world.n}; between points a straight line`
      : (shown.robust.kind === "none" ? "" : `from the curve (PGD-${world.surfaceSteps}); `) + "measuring …";
    const price = net.prices[net.widths.indexOf(state.width)], full = net.prices.at(-1);
    const rows = [["parameters", count(price.parameters)], ["multiply-adds", count(price.macs)], ["… of full width", percent(price.macs / full.macs, 0)]];
    if (world.live) rows.push(["an image takes", shown.same && this.model.get("live").ms ? `${this.model.get("live").ms.toPrecision(2)} ms` : "…"]);
    if (live && live.nonzero < price.parameters) rows.push(["not zero", count(live.nonzero)]);
    if (this.priced !== rows.join()) {
      this.priced = rows.join();
      this.price.replaceChildren(...rows.flatMap(([name, value]) => [make("span", {}, name), make("b", {}, value)]));
    }
    if (shown.settled && this.said !== this.inWords(shown)) this.say((this.said = this.inWords(shown)));
  }

  inWords({ clean, robust }) {
    const number = (n) => (n.value === null ? "not known yet" : `${n.kind === "estimated" ? "about " : ""}${percent(n.value)}`);
    return `${this.state.network} at λ ${short(this.state.lam)}, width ${short(this.state.width)}: clean ${number(clean)}, robust ${number(robust)}`;
  }

  drawWalk({ live }) {
    const key = JSON.stringify(live?.key);
    if (live && (key !== this.walk.key || live.step < (this.walk.seen.at(-1)?.[0] ?? -1))) this.walk = { key, seen: [] };
    if (live && this.walk.seen.at(-1)?.[0] !== live.step) this.walk.seen.push([live.step, live.robust]);
    drawWalk(this.walkPlot, live ? this.walk.seen.filter(([k]) => k >= 0) : [], live?.steps || this.state.steps);
  }

  drawGallery({ live }) {
    if (this.world.live) return this.gallery.show(live?.gallery, Boolean(live) && !this.moving);
    const shots = this.model.get("gallery")[this.state.network], w = nearest(shots.widths, this.state.width), l = nearest(shots.lams, this.state.lam);
    this.gallery.show(shots.rows[w][l], true, `attacked at λ = ${short(shots.lams[l])}, ε = ${short(shots.eps)}/255`);
  }

  drawTraining() {
    if (this.toldTraining === this.model.get("training")) return;
    this.toldTraining = this.model.get("training");
    const t = this.model.get("training") || {}, { start, pause, resume, step, stop } = this.train;
    const going = t.status === "running", waiting = t.status === "paused";
    start.disabled = going || waiting;
    pause.disabled = !going;
    resume.disabled = step.disabled = !waiting;
    stop.disabled = !going && !waiting;
    this.bar.value = t.of ? t.done / t.of : 0;
    const last = t.frontiers?.at(-1);
    this.trained.textContent = !t.status ? "nothing trained yet: about half a minute for oat on two cores"
      : `${t.recipe}: step ${t.done} of ${t.of}${t.loss === null ? "" : `, loss ${t.loss.toFixed(2)}`}, ${t.status}` +
        (last ? `; clean ${percent(last.points[0].clean, 0)} at λ = ${short(last.points[0].lam)}, robust ${percent(last.points.at(-1).robust, 0)} at λ = ${short(last.points.at(-1).lam)} (PGD-5, n = ${t.n})` : "") +
        (t.name ? `. It is in the list as “${t.name}”.` : "") + (t.note ? ` ${t.note}` : "");
    if (t.name && t.name !== this.joined) {
      this.joined = t.name;
      if (t.name in this.world.networks && this.world.live && this.sawTraining) this.move({ network: t.name });
    }
    this.sawTraining = going || waiting;
  }
}

export default { render };
