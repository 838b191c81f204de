// @ts-check
// The line at the top: what is measured, the state as text, the theme.
/** @import { Actions, Description, State, View } from "./types.js" */
import { button, make } from "./elements.js";
import { help } from "./popover.js";
import { writeState } from "./state.js";

const STATE_TITLE = "copy it, or paste one and press Enter";
const WHAT =
  "A trained network with a dial: λ says how far it avoids faint details, which are accurate but " +
  "easy to attack.";
const FIRST = " Begin here: move the slider λ to the right, and watch.";
const NO_DIAL = " The chosen network has no such dial.";

export class Header {
  /**
   * @param {Description} description
   * @param {Actions} actions
   * @param {HTMLElement} theme the button for the theme
   * @param {HTMLElement} tour the button for the tour
   */
  constructor(description, actions, theme, tour) {
    this.actions = actions;
    const { live, split, hide = [] } = description;
    const facts = make(
      "span",
      { class: live ? "" : "frozen" },
      stateOfNumbers(description) + factsOf(description),
    );
    this.text = make("input", {
      class: "state",
      "aria-label": `state: ${STATE_TITLE}`,
      title: STATE_TITLE,
      spellcheck: "false",
      onchange: () => actions.paste(this.text.value),
      onfocus: () => this.text.select(),
    });
    const copy = button("copy state", () => this.copy());
    const hidden = hide.includes("state");
    const keys = hidden ? ["theme"] : ["state", "theme"];
    const bar = make(
      "div",
      { class: "top" },
      make("strong", {}, "oatlib explorer"),
      facts,
      hidden ? null : this.text,
      hidden ? null : copy,
      theme,
      tour,
      help("this line", "data", split === "test" ? "testSplit" : "split", ...keys),
    );
    this.first = make("span", { hidden: hide.includes("lam") });
    const intro = make("p", { class: "intro" }, WHAT, this.first);
    this.element = make("header", {}, bar, intro);
  }

  /** @param {View} view */
  update({ state, net }) {
    this.first.textContent = net.stops.length > 1 ? FIRST : NO_DIAL;
    if (document.activeElement !== this.text) this.write(state);
  }

  /** @param {State} state */
  write(state) {
    this.text.value = writeState(state);
  }

  async copy() {
    this.text.focus();
    this.text.select();
    try {
      await navigator.clipboard.writeText(this.text.value);
      this.actions.announce("state copied");
    } catch {
      this.actions.announce("press Ctrl+C: the browser does not allow this page to copy");
    }
  }
}

/**
 * That the numbers are not measured now, if so.
 * @param {Description} description
 */
function stateOfNumbers({ live, missing }) {
  if (live) return "";
  return missing ? "recorded curves · " : "precomputed, without a kernel · ";
}

/** @param {Description} description */
function factsOf({ data, n, split }) {
  /** @type {Record<string, string>} */
  const names = { val: "validation", train: "training" };
  return `${data}, ${n} ${names[split] ?? split} images`;
}
