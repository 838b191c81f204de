// What is on the screen: every control and where it stands. What it does, and what is shown when, is the view's.

class Screen {
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
    this.legend = make("div", { class: "legend" });
    const middle = make("div", { class: "middle" }, make("div", { class: "picture" }, this.plot), this.legend);
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
    this.slider = slider({ min: 0, max: 100, step: 1 }, () => this.slide());
    this.lam = control("robustness λ", this.slider, "left: accurate as it is · right: withstands attacks", "lam");
    this.widths = stops("width", (width) => this.move({ width }));
    this.width = control("width", this.widths.box, "fraction of the channels that run: small and fast", "width");
    this.ball = slider({ min: 0, max: this.world.maxEps, step: 1 }, () => this.move({ eps: +this.ball.value }));
    this.eps = control("attack size ε", this.ball, "how far a pixel may be moved, of 255 levels", "eps");
    this.attacks = make("select", { onchange: () => this.move({ attack: this.attacks.value }) });
    const attack = control("attack", this.attacks, this.world.live ? "the quick cascade is within about two points of the suite; PGD finds less"
      : "of the curve shown", "attack");
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
      const by = make("span", { class: "range" });
      return { value, range, by, box: make("div", { class: "number" }, make("span", { class: "name" }, `${name} accuracy`), value, range, by) };
    };
    this.numbers = { clean: number("clean"), robust: number("robust") };
    this.gain = make("p", { class: "gain", title: "The coin answers with one of the two ends of this dial, drawn at random for each image, so that its clean accuracy is the same." });
    this.phase = make("p", { class: "phase" });
    this.walkPlot = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.walkPlot.setAttribute("class", "walkplot");
    this.walkPlot.setAttribute("aria-hidden", "true");
    this.price = make("div", { class: "price" });
    const hidden = this.world.hide || [];
    this.readout = make("div", { class: "readout" }, this.numbers.clean.box, this.numbers.robust.box, this.gain, this.phase,
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
}
