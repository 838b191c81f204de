// @ts-check
// The plot of robust against clean accuracy, its legend, and moves of the pointer along the curve.
/** @import { Scales } from "./content.js" */
/** @import { Actions, View } from "./types.js" */
import { contentOf, scalesOf } from "./content.js";
import { estimate, lamAt } from "./curves.js";
import { drawContent, drawCurrent, drawLegend } from "./drawing.js";
import { make, makeSvg } from "./elements.js";
import { help } from "./popover.js";
import { inWords } from "./reading.js";

const POSITIONS = 200; // of the slider, among which the pointer finds the nearest setting
const PICTURE = ["picture", "point", "thin", "best", "coinLine", "weak", "mixed", "marks"];

export class Plot {
  /** @param {Actions} actions */
  constructor(actions) {
    this.actions = actions;
    this.svg = makeSvg({ class: "plot", role: "img" });
    this.legend = make("div", { class: "legend" });
    const about = help("the picture", ...PICTURE);
    this.element = make(
      "div",
      { class: "middle" },
      make("div", { class: "picture" }, this.svg),
      make("div", { class: "below" }, about, this.legend),
    );
    /** @type {{ view: View, scales: Scales } | null} */
    this.shown = null;
    this.drawn = ""; // SVG text of the content that is shown
    this.drawnLegend = "";
    this.listen();
  }

  listen() {
    let dragging = false;
    this.svg.addEventListener("pointerdown", (event) => {
      dragging = true;
      this.actions.hold();
      this.svg.setPointerCapture(event.pointerId);
      this.follow(event);
    });
    this.svg.addEventListener("pointermove", (event) => {
      if (event.buttons && dragging) this.follow(event);
    });
    this.svg.addEventListener("pointerup", () => {
      dragging = false;
      this.actions.release();
    });
  }

  /** @param {View} view */
  update(view) {
    const width = this.svg.clientWidth || 560;
    const height = this.svg.clientHeight || 340;
    const content = contentOf(view);
    const scales = scalesOf(content, view.reading, width, height);
    this.shown = { view, scales };

    // Most moves change the current setting only.
    const drawn = drawContent(content, view.description, scales);
    if (this.drawn !== drawn) {
      this.drawn = drawn;
      this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      this.svg.innerHTML = `<g>${drawn}</g><g></g>`;
    }
    const current = this.svg.lastElementChild;
    if (current) current.innerHTML = drawCurrent(view, scales);

    const legend = drawLegend(view, content);
    if (this.drawnLegend !== legend) {
      this.drawnLegend = legend;
      this.legend.innerHTML = legend;
    }
    this.svg.setAttribute("aria-label", inWords(view.state, view.reading));
  }

  /**
   * Move the setting along its curve to the point that is nearest to the pointer.
   * @param {PointerEvent} event
   */
  follow(event) {
    if (!this.shown || this.shown.view.net.stops.length < 2) return;
    const { view, scales } = this.shown;
    const box = this.svg.getBoundingClientRect();
    const px = event.clientX - box.left;
    const py = event.clientY - box.top;
    let nearest = { lam: NaN, distance: Infinity };
    for (let i = 0; i <= POSITIONS; i++) {
      const lam = lamAt(view.net.slider, i / POSITIONS);
      const at = estimate(view.surface, lam, view.state.width, view.state.eps);
      if (at.clean === null || at.robust === null) continue;
      const distance = Math.hypot(scales.x(at.clean) - px, scales.y(at.robust) - py);
      if (distance < nearest.distance) nearest = { lam, distance };
    }
    if (isFinite(nearest.distance)) this.actions.move({ lam: +nearest.lam.toFixed(4) });
  }
}
