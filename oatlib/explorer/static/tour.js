// @ts-check
// A tour of the page in four steps. It opens on the first visit, and whenever its button is pressed.
import { button, make } from "./elements.js";

const TOUR_STEPS = [
  {
    target: '[data-part="lam"]',
    title: "The dial",
    text:
      "One network, many trade-offs: move λ to the right, and the same network gives up some " +
      "accuracy and becomes more robust to attacks. ▶ play moves it for you.",
  },
  {
    target: ".picture",
    title: "The picture",
    text:
      "Every point of the curve is one position of the dial. Up is more robust, right is more " +
      "accurate. The large dot is where you are; you can drag it along the curve.",
  },
  {
    target: ".readout",
    title: "The numbers",
    text:
      "How many images are classified correctly: clean, and under the attack. A number with ≈ is " +
      "an estimate from the curve, one without is measured.",
  },
  {
    target: ".gallery",
    title: "The images",
    text:
      "Six images, the change that the attack makes, and what the network answers before and " +
      "after. Every “?” on the page explains the words beside it.",
  },
];
// For images whose parts are known, those of the data set "shapes".
const WHAT_IMAGES_SHOW =
  "A faint texture shows the class of an image. The drawn shape usually shows it, too, but " +
  "sometimes lies. ";
const TOUR_SEEN = "oatlib explorer: tour"; // key in the storage of the browser
const CARD_SPACE = 10; // pixels between the card, what it points at, and the edges of the window

export class Tour {
  /**
   * @param {HTMLElement} root the element of the explorer
   * @param {boolean} hasParts whether it is known what the images are made of
   */
  constructor(root, hasParts) {
    this.root = root;
    this.hasParts = hasParts;
    this.button = button("tour", () => this.open(), "a tour of this page in four steps");
    this.title = make("strong", {});
    this.count = make("span", { class: "value" });
    this.text = make("p", { "aria-live": "polite" });
    this.back = button("back", () => this.show(this.index - 1));
    this.next = button("next", () => this.goOn());
    this.card = make(
      "div",
      { class: "panel tour", popover: "manual", role: "dialog", "aria-label": "tour of this page" },
      make("div", { class: "head" }, this.title, this.count),
      this.text,
      make("div", { class: "limits" }, this.back, this.next, this.closeButton()),
    );
    this.element = make("span", {}, this.button, this.card);
    this.steps = TOUR_STEPS;
    this.index = 0;
    /** @type {Element | null} */
    this.focused = null; // what had the focus before the tour

    this.onMove = () => this.place();
    /** @param {KeyboardEvent} event */
    this.onKey = (event) => {
      if (event.key === "Escape") this.close();
    };
  }

  closeButton() {
    return button("close", () => this.close(), "close the tour; it does not open by itself again");
  }

  /** Open the tour, unless this browser has shown it before. */
  openOnFirstVisit() {
    if (readSeen() === "no") this.open();
  }

  open() {
    this.steps = TOUR_STEPS.filter(({ target }) => this.shown(target));
    this.focused = document.activeElement;
    this.card.showPopover();
    addEventListener("resize", this.onMove);
    document.addEventListener("scroll", this.onMove, true);
    document.addEventListener("keydown", this.onKey, true);
    this.show(0);
    this.next.focus({ preventScroll: true });
  }

  /** Close the tour for good. */
  close() {
    if (!this.card.matches(":popover-open")) return;
    this.leave();
    writeSeen();
    const dial = this.root.querySelector(`${TOUR_STEPS[0].target} input:not(:disabled)`);
    const hadFocus = this.focused !== document.body && this.focused?.isConnected;
    const next = hadFocus ? this.focused : (dial ?? this.button);
    if (next instanceof HTMLElement) next.focus({ preventScroll: true });
  }

  /** Close the tour, so that it opens again with the next page. */
  leave() {
    removeEventListener("resize", this.onMove);
    document.removeEventListener("scroll", this.onMove, true);
    document.removeEventListener("keydown", this.onKey, true);
    this.mark(null);
    if (this.card.matches(":popover-open")) this.card.hidePopover();
  }

  goOn() {
    if (this.index === this.steps.length - 1) this.close();
    else this.show(this.index + 1);
  }

  /** @param {number} index of the step */
  show(index) {
    const { target, title, text } = this.steps[index];
    const isLast = index === this.steps.length - 1;
    this.index = index;
    this.title.textContent = title;
    const isOfImages = this.hasParts && target === ".gallery";
    this.text.textContent = isOfImages ? WHAT_IMAGES_SHOW + text : text;
    this.count.textContent = `${index + 1} of ${this.steps.length}`;
    this.back.disabled = index === 0;
    this.next.textContent = isLast ? "done" : "next";
    this.mark(this.shown(target));
    this.shown(target)?.scrollIntoView({ block: "nearest" });
    this.place();
  }

  /**
   * Draw a frame around what the card points at.
   * @param {Element | null} element null: remove the frame
   */
  mark(element) {
    for (const one of this.root.querySelectorAll(".toured")) one.classList.remove("toured");
    element?.classList.add("toured");
  }

  /** Put the card beside what it points at, where it hides least of it. */
  place() {
    const target = this.shown(this.steps[this.index].target);
    if (!target) return;
    const box = target.getBoundingClientRect();
    const { width, height } = this.card.getBoundingClientRect();
    const { clientWidth, clientHeight } = document.documentElement;
    const places = [
      { left: box.right + CARD_SPACE, top: box.top },
      { left: box.left - CARD_SPACE - width, top: box.top },
      { left: box.left, top: box.bottom + CARD_SPACE },
      { left: box.left, top: box.top - CARD_SPACE - height },
    ].map(({ left, top }) => ({
      left: clampTo(left, CARD_SPACE, clientWidth - CARD_SPACE - width),
      top: clampTo(top, CARD_SPACE, clientHeight - CARD_SPACE - height),
    }));
    /** @type {(place: { left: number, top: number }) => number} */
    const hidden = ({ left, top }) =>
      overlapLength(left, left + width, box.left, box.right) *
      overlapLength(top, top + height, box.top, box.bottom);
    const best = places.reduce((least, one) => (hidden(one) < hidden(least) ? one : least));
    Object.assign(this.card.style, { left: `${best.left}px`, top: `${best.top}px` });
  }

  /**
   * The element that a step points at, or null if it is not shown.
   * @param {string} target
   */
  shown(target) {
    const element = this.root.querySelector(target);
    return element?.getClientRects().length ? element : null;
  }
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
function clampTo(value, low, high) {
  return Math.max(low, Math.min(value, high));
}

/**
 * The length that two intervals share.
 * @param {number} start
 * @param {number} end
 * @param {number} otherStart
 * @param {number} otherEnd
 */
function overlapLength(start, end, otherStart, otherEnd) {
  return Math.max(0, Math.min(end, otherEnd) - Math.max(start, otherStart));
}

/**
 * Whether this browser has shown the tour. A browser that stores nothing could not remember it, so
 * there the tour never opens by itself.
 * @returns {"yes" | "no" | "unknown"}
 */
function readSeen() {
  try {
    return localStorage.getItem(TOUR_SEEN) === "yes" ? "yes" : "no";
  } catch {
    return "unknown";
  }
}

function writeSeen() {
  try {
    localStorage.setItem(TOUR_SEEN, "yes");
  } catch {
    // the tour stays closed on this page
  }
}
