// @ts-check
// The dials on the left. Each of them shows the state, and asks for another one when it is moved.
/** @import { Actions, Description, Part, View } from "./types.js" */
import { Chooser } from "./chooser.js";
import { curveAttack, lamAt, positionOf } from "./curves.js";
import { RadioButtons, button, labelled, make } from "./elements.js";
import { setGroups, setOptions, slider } from "./elements.js";
import { short } from "./format.js";
import { help, opensPanel } from "./popover.js";
import { attackLabel } from "./reading.js";

const TICKS = [0, 0.25, 0.5, 0.75, 1]; // positions of the slider below which λ is written
const THUMB = 16; // width of the thumb of a slider in pixels

/** All dials that are not hidden. */
export class Dials {
  /**
   * @param {Description} description
   * @param {Actions} actions
   */
  constructor(description, actions) {
    const { hide = [] } = description;
    /** @type {[string, Part][]} */
    const parts = [
      ["network", new NetworkDial(actions)],
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
}

class NetworkDial {
  /** @param {Actions} actions */
  constructor(actions) {
    this.actions = actions;
    this.select = make("select", { onchange: () => actions.move({ network: this.select.value }) });
    const about = help("networks", "network", "compare", "fixed");
    const { element, head, why } = labelled("network", "network", this.select, "", about);
    this.element = element;
    this.why = why;
    this.list = make("div", { class: "panel list", popover: "auto" });
    const title = "draw the curves of other networks as well";
    const compare = make("button", { type: "button", class: "compare", title }, "compare");
    opensPanel(compare, this.list, 330);
    head.append(compare, this.list);
    this.listed = "";
  }

  /** @param {View} view */
  update({ description, state, net }) {
    const { groups, networks } = description;
    if (this.listed !== Object.keys(networks).join()) {
      this.listed = Object.keys(networks).join();
      setGroups(this.select, groups);
      const parts = Object.entries(groups).flatMap(([title, names]) => [
        make("strong", {}, title),
        ...names.map((name) => this.checkbox(name, networks[name].about)),
      ]);
      this.list.replaceChildren(...parts);
    }
    this.select.value = state.network;
    this.why.textContent = net.about;
    for (const input of this.boxes()) input.checked = state.compare.includes(input.value);
  }

  boxes() {
    return [...this.list.querySelectorAll("input")];
  }

  /**
   * @param {string} name
   * @param {string} about
   */
  checkbox(name, about) {
    const onchange = () => {
      const checked = this.boxes().filter((input) => input.checked);
      this.actions.move({ compare: checked.map((input) => input.value) });
    };
    const input = make("input", { type: "checkbox", value: name, onchange });
    return make("label", {}, input, make("span", {}, make("b", {}, name), ` ${about}`));
  }
}

class LamDial {
  /** @param {Actions} actions */
  constructor(actions) {
    this.slider = slider(100, actions, (position) => actions.slide(position));
    const text = "left: accurate · right: robust to attacks";
    const about = help("the dial of λ", "lam", "ticks", "play", "fixed");
    const { element, value } = labelled("lam", "robustness λ", this.slider, text, about);
    this.element = element;
    this.value = value;
    this.ticks = make("div", { class: "ticks", "aria-hidden": "true" });
    this.slider.after(this.ticks);
    this.play = button("", () => actions.play(), "move λ slowly over its whole range");
    this.play.classList.add("play");
    value.before(this.play);
    this.ticked = "";
  }

  /** @param {View} view */
  update({ state, net, playing }) {
    const hasDial = net.stops.length > 1;
    const scale = hasDial ? net.slider : [0, 1]; // a fixed λ is shown where it lies in [0, 1]
    const lam = `λ = ${short(state.lam)}`;
    this.slider.disabled = !hasDial;
    this.slider.valueAsNumber = 100 * positionOf(scale, state.lam);
    this.slider.setAttribute("aria-valuetext", `λ ${short(state.lam)}`);
    this.value.textContent = hasDial ? lam : `${lam} only`;
    this.play.hidden = !hasDial;
    this.play.textContent = playing ? "❚❚ pause" : "▶ play";
    this.play.setAttribute("aria-pressed", String(playing));
    if (this.ticked !== scale.join()) {
      this.ticked = scale.join();
      this.ticks.replaceChildren(...TICKS.map((position) => tick(position, scale)));
    }
  }
}

/**
 * The λ at a position of the slider, written below it.
 * @param {number} position in [0, 1]
 * @param {number[]} scale λ at evenly spaced positions
 */
function tick(position, scale) {
  // the middle of the thumb does not reach the edges of the slider
  const left = `calc(${THUMB / 2}px + ${position} * (100% - ${THUMB}px))`;
  return make("span", { style: `left: ${left}` }, short(lamAt(scale, position), 2));
}

class WidthDial {
  /** @param {Actions} actions */
  constructor(actions) {
    this.buttons = new RadioButtons("width", (width) => actions.move({ width }));
    const text = "fraction of the channels in use: fewer cost less";
    const { element, value } = labelled(
      "width",
      "width",
      this.buttons.element,
      text,
      help("width", "width"),
    );
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
    const about = help("the attack size", "eps");
    const { element, value } = labelled("eps", "attack size ε", this.slider, text, about);
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
      ? "the quick suite is within about two points of the longer one; PGD is weaker"
      : "the attack of the curve shown";
    const keys = live ? ["attack", "quick", "pgd", "pace"] : ["attack", "suite", "quick"];
    const about = help("attacks", ...keys);
    const { element, head } = labelled("attack", "attack", this.select, text, about);
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
