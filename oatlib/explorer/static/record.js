// @ts-check
// How the chosen network was made, and what was measured on test images after its training.
/** @import { Network, Part, View } from "./types.js" */
import { make } from "./elements.js";

/** @implements {Part} */
export class RecordPane {
  constructor() {
    this.element = make("div", { class: "record" });
    /** @type {Network | null} */
    this.shown = null;
  }

  /** @param {View} view */
  update({ net }) {
    if (this.shown === net) return;
    this.shown = net;
    this.element.replaceChildren(factsOfNetwork(net), ...resultsOfNetwork(net));
  }
}

/** @param {Network} net */
function factsOfNetwork({ facts }) {
  const pairs = facts.flatMap(([word, text]) => [make("dt", {}, word), make("dd", {}, text)]);
  return make("dl", {}, ...pairs);
}

/** @param {Network} net */
function resultsOfNetwork({ results }) {
  if (!results) return [];
  /** @type {(tag: "th" | "td", texts: string[]) => HTMLElement} */
  const row = (tag, texts) => make("tr", {}, ...texts.map((text) => make(tag, {}, text)));
  const head = make("thead", {}, row("th", results.headings));
  const body = make("tbody", {}, ...results.rows.map((texts) => row("td", texts)));
  const scroller = make("div", { class: "scroller", tabindex: 0 }, make("table", {}, head, body));
  return [make("div", {}, make("p", { class: "why" }, results.title), scroller)];
}
