// What the screen shows: numbers and how they are known, the picture, the gallery, a training. It changes no state.

class Shown extends Screen {
  // Clean and robust accuracy as far as they are known, by which attack, and how: measured, falling (still under
  // attack), or estimated.
  look() {
    const { state } = this, live = this.model.get("live"), surface = this.model.get("surfaces")[state.network];
    const [network, lam, width, eps, attack] = live.key || [];
    const same = network === state.network && lam === state.lam && width === state.width;
    const exact = same && eps === state.eps && attack === state.attack, guess = estimate(surface, state.lam, state.width, state.eps);
    const number = (value, n, kind) => {
      const [low, high] = value === null ? [null, null] : wilson(value, n);
      return { value, low, high, n, kind: value === null ? "none" : kind };
    };
    const settled = exact && live.phase === "settled", walking = exact && live.phase === "walk" && !this.moving;
    const clean = same && !this.moving ? number(live.clean, live.n, "measured") : number(guess.clean, surface.n, "estimated");
    const robust = settled ? number(live.robust, live.n, "measured") : walking ? number(live.robust, live.n, "falling") : number(guess.robust, surface.n, "estimated");
    const by = state.eps ? (settled || walking ? state.attack : attackOf(surface, state.width, state.eps)) : null;
    return { clean, robust, by, live: exact ? live : null, same, settled, walking };
  }

  // How far a setting lies above the coin between the ends of its dial, at the same clean accuracy; null if unknown.
  gainOf({ clean, robust, by, walking }) {
    const { state } = this, surface = this.model.get("surfaces")[state.network];
    if (walking || clean.value === null || robust.value === null || (by && !surface.order.includes(by))) return null;
    const coin = coinAt(coinEnds(surface, frontier(surface, state.width, state.eps)), clean.value);
    return coin === null ? null : robust.value - coin;
  }

  labelOf(attack) {
    return attack === null ? "no attack" : this.world.attackNames[attack] + (attack.startsWith("pgd") ? ", an upper bound" : "");
  }

  draw() {
    const { world, state } = this, shown = this.look(), surfaces = this.model.get("surfaces");
    this.drawControls();
    this.drawNumbers(shown);
    this.scales = drawPlot(this.plot, this.legend, world, state, surfaces, shown, this.model.get("training"));
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
    this.drawAttacks();
    const pace = this.model.get("pace");
    this.play.textContent = pace === "pause" ? "go on" : "pause";
    this.play.setAttribute("aria-label", pace === "pause" ? "let the attack go on" : "pause the attack");
    this.play.title = this.play.getAttribute("aria-label");
    this.slow.setAttribute("aria-pressed", pace === "slow");
    for (const [input, share] of [[this.minClean, state.min_clean], [this.maxSize, state.max_size]])
      if (document.activeElement !== input) input.value = Math.round(100 * share);
  }

  // Without a kernel there is one attack, that of the curve.
  drawAttacks() {
    const { world, state } = this, curve = attackOf(this.model.get("surfaces")[state.network], state.width, state.eps);
    const choices = world.live ? world.attacks : [curve || state.attack];
    if (this.offered !== choices.join()) {
      this.offered = choices.join();
      this.attacks.replaceChildren(...choices.map((attack) => make("option", { value: attack }, this.labelOf(attack))));
    }
    this.attacks.value = world.live ? state.attack : choices[0];
    this.attacks.disabled = choices.length < 2;
  }

  drawNumbers(shown) {
    const { world, state, net } = this, { live, by } = shown;
    for (const name of ["clean", "robust"]) {
      const { value, low, high, kind } = shown[name], { box } = this.numbers[name];
      this.numbers[name].value.textContent = value === null ? "–" : (kind === "estimated" ? "≈ " : "") + percent(value);
      this.numbers[name].range.textContent = value === null ? "measuring" : `${percent(low)} to ${percent(high)}`;
      box.dataset.kind = kind;
    }
    this.numbers.robust.by.textContent = `${this.labelOf(by)}, n = ${shown.robust.n}`;
    const gain = this.gainOf(shown), dial = net.stops.length > 1;
    this.gain.hidden = !dial;
    this.gain.textContent = gain === null ? "coin: –" : `${Math.abs(100 * gain).toFixed(1)} points ${gain < 0 ? "below" : "above"} the coin`;
    const pause = this.model.get("pace") === "pause" ? ", paused" : "", chosen = world.attackNames[state.attack];
    this.phase.textContent = shown.settled ? "measured here" + (net.noisy ? ", for one draw of the noise" : "")
      : shown.walking || (live && pause) ? `${chosen}, step ${Math.max(0, live.step)} of ${state.attack === "quick" ? "at most " : ""}${live.steps}${pause}`
      : !world.live ? "precomputed; between points a straight line"
      : (shown.robust.kind === "none" ? "" : "from the curve; ") + (pause ? "the attack is paused" : "measuring …");
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
    drawWalk(this.walkPlot, live ? this.walk.seen.filter(([k]) => k >= 0) : [], live?.steps || 1);
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
        (last ? `; clean ${percent(last.points[0].clean, 0)} at λ = ${short(last.points[0].lam)}, robust ${percent(last.points.at(-1).robust, 0)} at λ = ${short(last.points.at(-1).lam)} (quick cascade, n = ${t.n})` : "") +
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
