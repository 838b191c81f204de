// What the screen shows: numbers and how they are known, the picture, the gallery, a training. It changes no state.

class Shown extends Screen {
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
      : (shown.robust.kind === "none" ? "" : `from the curve (PGD-${world.surfaceSteps}); `) + (pause ? "the attack is paused" : "measuring …");
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
  }

  say(words) {
    this.heard.textContent = words;
  }

  complain(words) {
    this.error.textContent = words;
    this.error.hidden = !words;
  }
}
