// @ts-check
// Panels that a button opens over the page, among them the explanations behind the buttons “?”.
import { button, make } from "./elements.js";
import { TEXTS } from "./texts.js";

const PANEL_EDGE = 8; // least distance in pixels between a panel and the edge of the window
const PANEL_GAP = 4; // pixels between a panel and its button
const PANEL_ROOM = 320; // pixels below the button that are enough for a panel

/**
 * Let a button open a panel over the page. The browser closes the panel on Escape and on a click
 * outside, and only one is open at a time. If the panel can have the focus, it takes it, so that
 * screen readers read it.
 * @param {HTMLButtonElement} opener
 * @param {HTMLElement} panel must have the attribute popover="auto"
 * @param {number} width of the panel in pixels, in a window that is wide enough
 */
export function opensPanel(opener, panel, width) {
  opener.popoverTargetElement = panel;
  /** @param {Event} event */
  const onScroll = (event) => {
    // The panel does not move with the page. A list that scrolls inside the panel stays open.
    if (event.target instanceof Node && event.target.contains(opener)) panel.hidePopover();
  };
  panel.addEventListener("beforetoggle", (event) => {
    if (event.newState === "open") placePanel(panel, opener.getBoundingClientRect(), width);
  });
  panel.addEventListener("toggle", (event) => {
    if (event.newState === "open") {
      panel.focus({ preventScroll: true });
      document.addEventListener("scroll", onScroll, true);
      return;
    }
    document.removeEventListener("scroll", onScroll, true);
    // A click on another control gives it the focus. After a click elsewhere nothing would have it.
    const { activeElement } = document;
    if (activeElement === document.body || panel.contains(activeElement))
      opener.focus({ preventScroll: true });
  });
}

/**
 * Put a panel below a box, or above it if there is more room.
 * @param {HTMLElement} panel
 * @param {DOMRect} box in the window
 * @param {number} wanted width in pixels
 */
function placePanel(panel, box, wanted) {
  const { clientWidth, clientHeight } = document.documentElement;
  const width = Math.min(wanted, clientWidth - 2 * PANEL_EDGE);
  const left = Math.max(PANEL_EDGE, Math.min(box.left, clientWidth - PANEL_EDGE - width));
  const below = clientHeight - box.bottom - PANEL_GAP - PANEL_EDGE;
  const above = box.top - PANEL_GAP - PANEL_EDGE;
  const isBelow = below >= Math.min(PANEL_ROOM, above);
  Object.assign(panel.style, {
    width: `${width}px`,
    left: `${left}px`,
    top: isBelow ? `${box.bottom + PANEL_GAP}px` : "auto",
    bottom: isBelow ? "auto" : `${clientHeight - box.top + PANEL_GAP}px`,
    maxHeight: `${isBelow ? below : above}px`,
  });
}

/**
 * A button “?” that explains words of the page. It works by mouse, keyboard and touch.
 * @param {string} about what is explained, for screen readers
 * @param {string[]} keys of TEXTS
 */
export function help(about, ...keys) {
  const entries = keys.map((key) => {
    const [term, meaning] = TEXTS[key];
    return make("p", {}, make("b", {}, term), make("span", {}, meaning));
  });
  const attributes = { popover: "auto", role: "note", tabindex: -1 };
  const panel = make(
    "div",
    { class: "panel help", "aria-label": about, ...attributes },
    ...entries,
  );
  const opener = button("?", () => {}, `explain ${about}`);
  opener.classList.add("ask");
  opensPanel(opener, panel, 300);
  return make("span", { class: "asked" }, opener, panel);
}
