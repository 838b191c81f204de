// @ts-check
// The search for a setting: two limits, a button, and an answer.
/** @import { Actions, View } from "./types.js" */
import { choose } from "./choose.js";
import { curveAttack } from "./curves.js";
import { button, make } from "./elements.js";
import { short } from "./format.js";
import { help } from "./popover.js";
import { writeState } from "./state.js";

const HINT = "the most robust measured setting within limits";

export class Chooser {
  /** @param {Actions} actions */
  constructor(actions) {
    this.actions = actions;
    this.minClean = this.limit("min_clean", "smallest clean accuracy in percent");
    this.maxSize = this.limit("max_size", "most multiply-adds in percent of the full network");
    this.answer = make("p", { class: "why", role: "status" }, HINT);
    const limits = make(
      "div",
      { class: "limits" },
      make("label", {}, "clean ≥ ", this.minClean, " %"),
      make("label", {}, "cost ≤ ", this.maxSize, " %"),
      button("choose for me", () => this.choose()),
      help("the search for a setting", "choose", "minClean", "maxSize"),
    );
    this.element = make(
      "div",
      { class: "control choose", "data-part": "choose" },
      limits,
      this.answer,
    );
    /** @type {View | null} */
    this.view = null;
    this.answered = ""; // state to which the answer belongs
  }

  /**
   * @param {"min_clean" | "max_size"} key
   * @param {string} label
   */
  limit(key, label) {
    const onchange = () => {
      const fraction = +((+input.value || 0) / 100).toFixed(4);
      this.actions.move({ [key]: Math.min(1, Math.max(0, fraction)) });
    };
    /** @type {HTMLInputElement} */
    const input = make("input", {
      type: "number",
      min: 0,
      max: 100,
      step: 1,
      "aria-label": label,
      onchange,
    });
    return input;
  }

  /** @param {View} view */
  update(view) {
    this.view = view;
    const { state } = view;
    if (this.answered !== writeState(state)) this.say(HINT);
    setUnlessFocused(this.minClean, state.min_clean);
    setUnlessFocused(this.maxSize, state.max_size);
  }

  choose() {
    if (!this.view) return;
    const { description, net, surface, state } = this.view;
    const choice = choose(net, surface, state);
    if ("why" in choice) {
      this.say(choice.why);
      return;
    }
    this.actions.move(choice);
    const attack = curveAttack(surface, choice.width, state.eps);
    const by = attack ? ` (by the ${description.attackNames[attack]})` : "";
    this.say(`moved to λ = ${short(choice.lam)}, width ${short(choice.width)}${by}`);
  }

  /** @param {string} text */
  say(text) {
    this.answer.textContent = text;
    this.answered = this.view ? writeState(this.view.state) : "";
  }
}

/**
 * @param {HTMLInputElement} input
 * @param {number} fraction
 */
function setUnlessFocused(input, fraction) {
  if (document.activeElement !== input) input.value = String(Math.round(100 * fraction));
}
