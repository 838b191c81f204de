// @ts-check
// Elements of the page that several parts use.
import { short } from "./format.js";

/**
 * Make an element. A function under "onclick" listens to clicks. Attributes that are false, null
 * or undefined are left out, and so are children that are null.
 *
 * make("button", { class: "x", onclick: f, "aria-label": "y" }, "text")
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} attributes
 * @param {(Node | string | null)[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function")
      element.addEventListener(key.slice(2), /** @type {EventListener} */ (value));
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/**
 * Make a button.
 * @param {string} text
 * @param {() => void} onclick
 * @param {string | null} about what it does, if its text does not say so
 */
export function button(text, onclick, about = null) {
  return make("button", { type: "button", title: about, "aria-label": about, onclick }, text);
}

/**
 * Make an empty SVG.
 * @param {Record<string, string>} attributes
 */
export function makeSvg(attributes) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, value);
  return svg;
}

let lastId = 0;

/** An id that no other element of the page has. */
function newId() {
  lastId += 1;
  return `oat-${lastId}`;
}

/**
 * A control with its label and an explanation.
 * @param {string} part name of the part of the page
 * @param {string} label
 * @param {HTMLElement} input the control
 * @param {string} explanation
 * @param {HTMLElement | null} help a longer explanation, behind a button
 */
export function labelled(part, label, input, explanation, help = null) {
  const id = newId();
  const value = make("output", { class: "value" });
  input.setAttribute("aria-describedby", `${id}-why`);
  let title;
  if (input instanceof HTMLFieldSetElement) {
    // a label element can name a single input only
    title = make("span", { id: `${id}-label` }, label);
    input.setAttribute("aria-labelledby", `${id}-label`);
  } else {
    title = make("label", { for: id }, label);
    input.id = id;
  }
  const head = make("div", { class: "head" }, title, help, value);
  const why = make("p", { class: "why", id: `${id}-why` }, explanation);
  const element = make("div", { class: "control", "data-part": part }, head, input, why);
  return { element, head, value, why };
}

/**
 * A slider that tells when it is held.
 * @param {number} max
 * @param {{ hold(): void, release(): void }} actions
 * @param {(value: number) => void} onmove
 */
export function slider(max, actions, onmove) {
  /** @type {HTMLInputElement} */
  const input = make("input", {
    type: "range",
    min: 0,
    max,
    step: 1,
    oninput: () => onmove(+input.value),
    onpointerdown: () => actions.hold(),
    onpointerup: () => actions.release(),
    onpointercancel: () => actions.release(),
  });
  return input;
}

/** A choice of one of a few numbers. These are radio buttons, so that the arrow keys work. */
export class RadioButtons {
  /**
   * @param {string} name
   * @param {(value: number) => void} onchange
   */
  constructor(name, onchange) {
    this.element = make("fieldset", { class: "stops", role: "radiogroup" });
    this.group = `${newId()}-${name}`;
    this.onchange = onchange;
    this.shown = "";
  }

  /**
   * @param {number[]} values
   * @param {number} chosen
   */
  update(values, chosen) {
    if (this.shown !== values.join()) {
      this.shown = values.join();
      this.element.replaceChildren(...values.map((value) => this.button(value)));
    }
    this.element.disabled = values.length < 2;
    for (const input of this.element.querySelectorAll("input"))
      input.checked = +input.value === chosen;
  }

  /** @param {number} value */
  button(value) {
    const onchange = () => this.onchange(value);
    const input = make("input", { type: "radio", name: this.group, value, onchange });
    return make("label", {}, input, make("span", {}, short(value)));
  }
}

/**
 * Show options in a select element, in groups.
 * @param {HTMLSelectElement} select
 * @param {Record<string, string[]>} groups values by the title of their group
 */
export function setGroups(select, groups) {
  const elements = Object.entries(groups).map(([label, values]) =>
    make("optgroup", { label }, ...values.map((value) => make("option", { value }, value))),
  );
  select.replaceChildren(...elements);
}

/**
 * Show options in a select element.
 * @param {HTMLSelectElement} select
 * @param {string[]} values
 * @param {(value: string) => string} write
 */
export function setOptions(select, values, write = (value) => value) {
  select.replaceChildren(...values.map((value) => make("option", { value }, write(value))));
}
