// @ts-check
// Light or dark: as JupyterLab or the system has it, or as the user chooses.
import { make } from "./elements.js";

const CHOICES = ["auto", "light", "dark"];

export class Theme {
  /**
   * @param {HTMLElement} root the element that is themed
   * @param {boolean} page whether it fills a page of its own
   */
  constructor(root, page) {
    this.root = root;
    this.page = page;
    this.choice = 0;
    const title = "light, dark, or the setting of the system";
    this.element = make("button", { type: "button", onclick: () => this.next(), title });
    this.system = matchMedia("(prefers-color-scheme: dark)");
    this.onChange = () => this.apply();
    this.system.addEventListener("change", this.onChange);
    this.jupyter = new MutationObserver(this.onChange);
    const options = { attributes: true, attributeFilter: ["data-jp-theme-light"] };
    this.jupyter.observe(document.body, options);
  }

  close() {
    this.system.removeEventListener("change", this.onChange);
    this.jupyter.disconnect();
  }

  next() {
    this.choice = (this.choice + 1) % CHOICES.length;
    this.apply();
  }

  apply() {
    const choice = CHOICES[this.choice];
    this.root.dataset.theme = choice === "auto" ? this.surrounding() : choice;
    this.element.textContent = `theme: ${choice}`;
    if (this.page) this.applyToPage();
  }

  /** Give all that is around the explorer the same colour, and scroll bars to match. */
  applyToPage() {
    const { theme = "light" } = this.root.dataset;
    const { backgroundColor } = getComputedStyle(this.root);
    for (let around = this.root.parentElement; around; around = around.parentElement) {
      around.style.background = backgroundColor;
      around.style.colorScheme = theme;
    }
  }

  /** The theme of JupyterLab, or that of the system outside of JupyterLab. */
  surrounding() {
    const jupyterIsLight = this.page ? undefined : document.body.dataset.jpThemeLight;
    if (jupyterIsLight !== undefined) return jupyterIsLight === "false" ? "dark" : "light";
    return this.system.matches ? "dark" : "light";
  }
}
