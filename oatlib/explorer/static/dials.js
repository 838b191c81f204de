// @ts-check
// The dials on the left. Each of them shows the state, and asks for another one when it is moved.
/** @import { Actions, Description, Part, View } from "./types.js" */
import { Chooser } from "./chooser.js";
import { curveAttack, positionOf } from "./curves.js";
import { RadioButtons, button, labelled, make, setOptions, slider } from "./elements.js";
import { short } from "./format.js";
import { attackLabel } from "./reading.js";

/** All dials that are not hidden. */
export class Dials {
  /**
   * @param {Description} description
   * @param {Actions} actions
   */
  constructor(description, actions) {
    const { hide = [] } = description;
    this.network = new NetworkDial(actions);
    /** @type {[string, Part][]} */
    const parts = [
      ["network", this.network],
      ["lam", new LamDial(actions)],
      ["width", new WidthDial(actions)],
      ["eps", new EpsDial(description, actions)],
      ["attack", new AttackDial(description, actions)],
      ["choose", new Chooser(actions)],
    ];
    this.parts = parts.filter(([name]) => !hide.includes(name)).map(([, part]) => part);
    const elements = this.parts.map((part) => part.element);
    this.element = make("div", { class: "controls" }, ...elements);
  }

  /** @param {View} view */
  update(view) {
    for (const part of this.parts) part.update(view);
  }

  /** Close what lies over the page. */
  closePopups() {
    this.network.compare.open = false;
  }
}

class NetworkDial {
  /** @param {Actions} actions */
  constructor(actions) {
    this.actions = actions;
    this.select = make("select", { onchange: () => actions.move({ network: this.select.value }) });
    const text = "trained once; the dials below adjust it";
    const { element, head } = labelled("network", "network", this.select, text);
    this.element = element;
    this.list = make("div", { class: "list" });
    const title = "draw the curves of other networks as well";
    this.compare = make(
      "details",
      { class: "compare" },
      make("summary", { title }, "compare"),
      this.list,
    );
    head.append(this.compare);
  }

  /** @param {View} view */
  update({ description, state }) {
    const names = Object.keys(description.networks);
    if (this.select.length !== names.length) {
      setOptions(this.select, names);
      this.list.replaceChildren(...names.map((name) => this.checkbox(name)));
    }
    this.select.value = state.network;
    for (const input of this.boxes()) input.checked = state.compare.includes(input.value);
  }

  boxes() {
    return [...this.list.querySelectorAll("input")];
  }

  /** @param {string} name */
  checkbox(name) {
    const onchange = () => {
      const checked = this.boxes().filter((input) => input.checked);
      this.actions.move({ compare: checked.map((input) => input.value) });
    };
    return make("label", {}, make("input", { type: "checkbox", value: name, onchange }), name);
  }
}

class LamDial {
  /** @param {Actions} actions */
  constructor(actions) {
    this.slider = slider(100, actions, (position) => actions.slide(position));
    const text = "left: accurate · right: robust to attacks";
    const { element, value } = labelled("lam", "robustness λ", this.slider, text);
    this.element = element;
    this.value = value;
  }

  /** @param {View} view */
  update({ state, net }) {
    const hasDial = net.stops.length > 1;
    const lam = `λ = ${short(state.lam)}`;
    this.slider.disabled = !hasDial;
    this.slider.valueAsNumber = hasDial ? 100 * positionOf(net.slider, state.lam) : 0;
    this.slider.setAttribute("aria-valuetext", `λ ${short(state.lam)}`);
    this.value.textContent = hasDial ? lam : `trained at ${lam} only`;
  }
}

class WidthDial {
  /** @param {Actions} actions */
  constructor(actions) {
    this.buttons = new RadioButtons("width", (width) => actions.move({ width }));
    const text = "fraction of the channels in use: fewer cost less";
    const { element, value } = labelled("width", "width", this.buttons.element, text);
    this.element = element;
    this.value = value;
  }

  /** @param {View} view */
  update({ state, net }) {
    this.buttons.update(net.widths, state.width);
    this.value.textContent = net.widths.length > 1 ? "" : "one width only";
  }
}

class EpsDial {
  /**
   * @param {Description} description
   * @param {Actions} actions
   */
  constructor({ maxEps }, actions) {
    this.slider = slider(maxEps, actions, (eps) => actions.move({ eps }));
    const text = "largest change of a pixel value, in 1/255";
    const { element, value } = labelled("eps", "attack size ε", this.slider, text);
    this.element = element;
    this.value = value;
  }

  /** @param {View} view */
  update({ state }) {
    this.slider.valueAsNumber = state.eps;
    this.slider.setAttribute("aria-valuetext", `${short(state.eps)} of 255`);
    this.value.textContent = `${short(state.eps)}/255`;
  }
}

/** The attack, and how it advances. Without a kernel there is one attack, that of the curve. */
class AttackDial {
  /**
   * @param {Description} description
   * @param {Actions} actions
   */
  constructor({ live }, actions) {
    this.select = make("select", { onchange: () => actions.move({ attack: this.select.value }) });
    const text = live
      ? "the quick cascade is within about two points of the suite; PGD is weaker"
      : "the attack of the curve shown";
    const { element, head } = labelled("attack", "attack", this.select, text);
    this.element = element;
    this.shown = "";
    this.pace = live ? new PaceButtons(actions) : null;
    if (this.pace) head.append(this.pace.element);
  }

  /** @param {View} view */
  update(view) {
    const { description, state, surface } = view;
    const curve = curveAttack(surface, state.width, state.eps) ?? state.attack;
    const choices = description.live ? description.attacks : [curve];
    if (this.shown !== choices.join()) {
      this.shown = choices.join();
      setOptions(this.select, choices, (attack) => attackLabel(description, attack));
    }
    this.select.value = description.live ? state.attack : curve;
    this.select.disabled = choices.length < 2;
    this.pace?.update(view);
  }
}

/** Buttons that pause the attack, advance it by one step, or slow it down. */
class PaceButtons {
  /** @param {Actions} actions */
  constructor(actions) {
    /** @type {import("./types.js").Pace} */
    this.pace = "run";
    /** @param {"pause" | "slow"} pace */
    const toggle = (pace) => () => actions.setPace(this.pace === pace ? "run" : pace);
    const step = () => {
      actions.setPace("pause");
      actions.send({ do: "attack-step" });
    };
    this.pause = button("pause", toggle("pause"), "pause the attack");
    const once = button("+1", step, "one attack step (pauses first)");
    this.slow = button("slow", toggle("slow"), "run the attack slowly enough to watch");
    this.element = make("span", { class: "walker" }, this.pause, once, this.slow);
  }

  /** @param {View} view */
  update({ pace }) {
    this.pace = pace;
    const about = pace === "pause" ? "continue the attack" : "pause the attack";
    this.pause.textContent = pace === "pause" ? "continue" : "pause";
    this.pause.setAttribute("aria-label", about);
    this.pause.title = about;
    this.slow.setAttribute("aria-pressed", String(pace === "slow"));
  }
}
