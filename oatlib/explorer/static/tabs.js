// @ts-check
// Panes below the plot, of which one is shown.
import { make } from "./elements.js";

/** @typedef {{ title: string, element: HTMLElement }} Pane */

export class Tabs {
  /** @param {Pane[]} panes at least one. A single pane has no tab. */
  constructor(panes) {
    this.panes = panes;
    this.shown = 0;
    this.buttons = panes.map(({ title }, i) =>
      make("button", { type: "button", role: "tab", onclick: () => this.show(i) }, title),
    );
    const elements = panes.map((pane) => pane.element);
    for (const element of elements)
      element.setAttribute("role", panes.length > 1 ? "tabpanel" : "group");
    const bar = make(
      "div",
      {
        class: "tabs",
        role: "tablist",
        "aria-label": "below the plot",
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.onKey(event),
      },
      ...this.buttons,
    );
    this.element = make("div", { class: "bottom" }, panes.length > 1 ? bar : null, ...elements);
    this.show(0);
  }

  /** @param {number} index */
  show(index) {
    this.shown = index;
    for (const [i, button] of this.buttons.entries()) {
      button.setAttribute("aria-selected", String(i === index));
      button.tabIndex = i === index ? 0 : -1;
      this.panes[i].element.hidden = i !== index;
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
