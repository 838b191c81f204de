// @ts-check
// Panes below the plot, of which one is shown.
import { make } from "./elements.js";
import { help } from "./popover.js";

/**
 * A part of the page below the plot, and the keys of TEXTS that explain it.
 * @typedef {{ title: string, element: HTMLElement, keys: string[] }} Pane
 */

export class Tabs {
  /** @param {Pane[]} panes at least one. A single pane has a title instead of a tab. */
  constructor(panes) {
    this.panes = panes;
    this.shown = 0;
    this.buttons = panes.map(({ title }, i) =>
      make("button", { type: "button", role: "tab", onclick: () => this.show(i) }, title),
    );
    this.helps = panes.map(({ title, keys }) => help(title, ...keys));
    const elements = panes.map((pane) => pane.element);
    for (const element of elements)
      element.setAttribute("role", panes.length > 1 ? "tabpanel" : "group");
    const list = make(
      "div",
      {
        role: "tablist",
        "aria-label": "below the plot",
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.onKey(event),
      },
      ...this.buttons,
    );
    const title = make("span", { class: "name" }, panes[0].title);
    const bar = make("div", { class: "tabs" }, panes.length > 1 ? list : title, ...this.helps);
    this.element = make("div", { class: "bottom" }, bar, ...elements);
    this.show(0);
  }

  /** @param {number} index */
  show(index) {
    this.shown = index;
    for (const [i, button] of this.buttons.entries()) {
      button.setAttribute("aria-selected", String(i === index));
      button.tabIndex = i === index ? 0 : -1;
      this.panes[i].element.hidden = i !== index;
      this.helps[i].hidden = i !== index;
    }
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const n = this.panes.length;
    this.show((this.shown + steps[event.key] + n) % n);
    this.buttons[this.shown].focus();
  }
}
