// What happens on the screen. `model` is the widget's, or its stand-in on a page without a kernel: get, set, save_changes, on, send.

const TOLD = "change:world change:surfaces change:live change:training change:error change:pace".split(" ");
const QUIET = 150; // ms without a move after which a hand that still holds a slider is taken to rest

function render({ model, el }) {
  const view = new View(model, el);
  view.draw();
  return () => view.close();
}

class View extends Shown {
  constructor(model, el) {
    super();
    this.model = model;
    this.state = model.get("controls");
    this.walk = { key: "", seen: [] };
    this.moved = 0; // when the last move of a held slider was
    this.stride = 0; // how far the last key press took the slider of λ
    this.root = make("section", { class: "oat", role: "region", "aria-label": "oatlib explorer" });
    this.build();
    el.replaceChildren(this.root);
    this.listen();
    this.follow(); // a training may have begun before this view
    if (this.world.page && location.hash.length > 1) this.paste(location.hash);
  }

  get world() { return this.model.get("world"); }
  get net() { return this.world.networks[this.state.network]; }

  listen() {
    this.onControls = () => {
      if (this.state === this.model.get("controls")) return; // told by `move`, which draws itself
      this.state = this.model.get("controls");
      this.draw();
    };
    this.onTold = () => {
      this.follow();
      this.draw();
      this.lookAhead();
    };
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
    this.stride = 0;
    this.answer.textContent = "the most robust measured setting within limits";
    this.fault = "";
    this.model.set("controls", this.state);
    this.model.save_changes();
    if (this.world.page) history.replaceState(null, "", `#${writeState(this.state)}`);
    this.draw();
  }

  // λ at a position of its slider, 0 to 100: what a move there asks for.
  lamAt(position) {
    return fitting({ ...this.state, lam: +lamOf(this.net.slider, position / 100).toFixed(4) }, this.world).lam;
  }

  slide() {
    const stride = this.slider.value - Math.round(100 * positionOf(this.net.slider, this.state.lam));
    this.move({ lam: this.lamAt(this.slider.value) });
    if (!this.held) this.stride = stride;
  }

  // What the same key once more would bring is measured while this setting is looked at.
  lookAhead() {
    const next = +this.slider.value + this.stride;
    if (!this.stride || this.root.dataset.phase !== "settled" || this.model.get("pace") !== "run") return;
    this.stride = 0;
    if (next >= 0 && next <= 100) this.model.send({ do: "ahead", lam: this.lamAt(next) });
  }

  // While a hand moves a slider only the curve is shown: numbers that start anew with every move would flicker.
  get moving() {
    return this.held && performance.now() - this.moved < QUIET;
  }

  release() {
    this.held = false;
    this.draw();
  }

  // The dials go to a network whose training was watched. Not part of `draw`, which must see one state from start to end.
  follow() {
    const t = this.model.get("training");
    if (this.watching && t.name) this.move({ network: t.name });
    this.watching = underWay(t);
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
    const attack = attackOf(this.model.get("surfaces")[this.state.network], this.state.width, this.state.eps);
    this.answer.textContent = `moved to λ = ${short(found.lam)}, width ${short(found.width)}` + (attack ? ` (by the ${this.world.attackNames[attack]})` : "");
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
}

export default { render };
