// @ts-check
// The explorer in the browser. It owns the state and the parts of the page, and talks to Python.
/** @import { Actions, Message, Model, Pace, Part, State, View } from "./types.js" */
import { Connection } from "./connection.js";
import { lamAt, positionOf } from "./curves.js";
import { Dials } from "./dials.js";
import { make } from "./elements.js";
import { Gallery } from "./gallery.js";
import { Header } from "./header.js";
import { Player } from "./player.js";
import { Plot } from "./plot.js";
import { isUnderWay, readingOf } from "./reading.js";
import { Readout } from "./readout.js";
import { RecordPane } from "./record.js";
import { fitToNetwork, readState, readWhatFits, shortened, writeState } from "./state.js";
import { Tabs } from "./tabs.js";
import { Theme } from "./theme.js";
import { Tour } from "./tour.js";
import { TrainingPane } from "./training.js";

const EVENTS = [
  "change:description",
  "change:surfaces",
  "change:live",
  "change:training",
  "change:error",
  "change:pace",
];
const MOST_FAULTS = 3; // of an address, that are listed
const QUIET = 150; // milliseconds after the last move until a held slider is taken to be at rest

/**
 * Show the explorer in an element, as anywidget calls it.
 * @param {{ model: Model, el: HTMLElement }} widget
 * @returns {() => void} removes it
 */
function render({ model, el }) {
  const explorer = new Explorer(model);
  el.replaceChildren(explorer.element);
  explorer.open();
  return () => explorer.close();
}

/** @implements {Actions} */
class Explorer {
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    this.state = model.get("controls");
    this.held = false; // whether the pointer holds a slider or the point
    this.movedAt = 0; // time of the last move in milliseconds
    this.stride = 0; // positions by which the last key press moved the slider of λ
    this.wasTraining = false;
    this.fault = ""; // why the last pasted state or the address cannot be read
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.restTimer = undefined;

    const { description } = this;
    this.element = make("section", {
      class: "oat",
      role: "region",
      "aria-label": "oatlib explorer",
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.onKey(event),
    });
    this.error = make("p", { class: "error", role: "alert", hidden: true });
    this.announcement = make("p", { class: "heard", "aria-live": "polite" });
    this.theme = new Theme(this.element, description.page);
    this.tour = new Tour(this.element, Boolean(description.seeThrough));
    this.player = new Player(
      (position) => this.glide(position),
      () => this.slide(100),
    );
    this.header = new Header(description, this, this.theme.element, this.tour.element);
    this.dials = new Dials(description, this);
    this.plot = new Plot(this);
    this.readout = new Readout(description, this);
    this.gallery = new Gallery(description);
    this.training = new TrainingPane(description, this);
    this.record = new RecordPane();
    this.connection = new Connection(model, {
      page: description.page,
      onchange: () => this.draw(),
      onreply: (reply, buffers) => this.training.hear(reply, buffers),
    });
    /** @type {Part[]} */
    this.parts = [
      this.header,
      this.connection,
      this.dials,
      this.plot,
      this.readout,
      this.gallery,
      this.training,
      this.record,
    ];
    this.element.append(
      this.header.element,
      this.connection.element,
      this.error,
      this.announcement,
      this.main(),
    );
    const panes = this.panes();
    if (panes.length) this.element.append(new Tabs(panes).element);

    this.onControls = () => this.takeState();
    this.onEvent = () => this.takeValues();
    this.onAddress = () => this.takeAddress();
    this.isShown = false; // whether the element has been on the page
    this.resized = new ResizeObserver(() => this.onResize());
  }

  main() {
    return make(
      "div",
      { class: "main" },
      this.dials.element,
      this.plot.element,
      this.readout.element,
    );
  }

  /** What is shown below the plot. */
  panes() {
    const { live, missing, networks, seeThrough, hide = [] } = this.description;
    const panes = [];
    if (!hide.includes("gallery"))
      panes.push({
        title: missing ? "images under attack" : "six images under attack",
        element: this.gallery.element,
        keys: seeThrough
          ? ["gallery", "drawn", "answers", "seeThrough"]
          : ["gallery", "answers"],
      });
    if (Object.values(networks).some((net) => net.results))
      panes.push({
        title: "how it was made",
        element: this.record.element,
        keys: ["record", "results"],
      });
    if (live && !hide.includes("training"))
      panes.push({
        title: "train one here",
        element: this.training.element,
        keys: ["recipe", "epochs", "step", "stop", "save"],
      });
    return panes;
  }

  /** Draw for the first time, and listen. The element may not be on the page yet. */
  open() {
    this.model.on("change:controls", this.onControls);
    for (const event of EVENTS) this.model.on(event, this.onEvent);
    this.resized.observe(this.plot.svg);
    this.theme.apply();
    if (this.description.live) this.connection.open();
    if (this.description.page) addEventListener("hashchange", this.onAddress);
    this.followTraining(); // a training may have started before this page was opened
    if (this.description.page && location.hash.length > 1) this.takeAddress();
    else this.draw();
  }

  /** The plot has a new size. It gets its first one when it is put on the page. */
  onResize() {
    if (!this.isShown && this.element.isConnected) {
      this.isShown = true;
      this.theme.apply(); // the colour of the page is that of the element, which is known now
      if (this.description.page) this.tour.openOnFirstVisit();
    }
    this.draw();
  }

  close() {
    this.model.off("change:controls", this.onControls);
    for (const event of EVENTS) this.model.off(event, this.onEvent);
    removeEventListener("hashchange", this.onAddress);
    this.resized.disconnect();
    this.connection.close();
    this.theme.close();
    this.tour.leave();
    this.player.stop();
    clearTimeout(this.restTimer);
  }

  get description() {
    return this.model.get("description");
  }

  get net() {
    return this.description.networks[this.state.network];
  }

  /** Whether a slider is being dragged, or λ plays. */
  get moving() {
    return this.player.playing || (this.held && performance.now() - this.movedAt < QUIET);
  }

  /** @returns {View} */
  view() {
    const { description, state, net, moving } = this;
    const surfaces = this.model.get("surfaces");
    const surface = surfaces[state.network];
    const training = this.model.get("training");
    return {
      description,
      state,
      net,
      surfaces,
      surface,
      reading: readingOf(state, surface, this.model.get("live"), moving),
      training: training.status ? training : null,
      pace: this.model.get("pace"),
      shots: (!description.live && this.model.get("gallery")?.[state.network]) || null,
      moving,
      playing: this.player.playing,
      error: this.fault || this.model.get("error"),
    };
  }

  draw() {
    clearTimeout(this.restTimer);
    const view = this.view();
    const errors = view.error ? [view.error] : [];
    for (const part of this.parts) {
      // An error in one part leaves the others alive.
      try {
        part.update(view);
      } catch (error) {
        console.error(error);
        errors.push(`A part of the page cannot be drawn: ${messageOf(error)}`);
      }
    }
    this.error.textContent = errors.join(" ");
    this.error.hidden = !errors.length;
    this.element.dataset.phase = phaseOf(view);
    this.element.toggleAttribute("data-refining", view.reading.refining);
    this.element.dataset.python = this.connection.lost ? "lost" : "here";
    if (view.moving) this.restTimer = setTimeout(() => this.draw(), QUIET + 10);
  }

  // --- what Python sends ---

  takeState() {
    if (this.state === this.model.get("controls")) return; // set by `move`, which has drawn it
    this.player.stop();
    this.state = this.model.get("controls");
    this.draw();
  }

  takeValues() {
    this.followTraining();
    this.draw();
    this.prefetch();
  }

  /** When a training ends, move to its network. */
  followTraining() {
    const training = this.model.get("training");
    const current = training.status ? training : null;
    const name = current?.name ?? "";
    const isListed = Object.hasOwn(this.description.networks, name);
    if (this.wasTraining && isListed) this.move({ network: name });
    this.wasTraining = isUnderWay(current);
  }

  /** While a setting is looked at, measure what the same key would choose if pressed again. */
  prefetch() {
    const settled = this.element.dataset.phase === "settled";
    if (!this.stride || !settled || this.model.get("pace") !== "run") return;
    const next = this.position + this.stride;
    this.stride = 0;
    if (next >= 0 && next <= 100) this.send({ do: "prefetch", lam: this.lamAt(next) });
  }

  // --- what the parts of the page ask for ---

  /**
   * Move the dials. What is known is drawn at once. What is not known will be measured.
   * @param {Partial<State>} change
   */
  move(change) {
    this.player.stop();
    this.state = fitToNetwork({ ...this.state, ...change }, this.description);
    this.movedAt = performance.now();
    this.stride = 0;
    this.fault = "";
    this.connection.set("controls", this.state);
    if (this.description.page) history.replaceState(null, "", `#${writeState(this.state)}`);
    this.draw();
  }

  /**
   * Move the slider of λ.
   * @param {number} position 0 to 100
   */
  slide(position) {
    const stride = position - this.position;
    this.move({ lam: this.lamAt(position) });
    if (!this.held) this.stride = stride;
  }

  /** Let λ move by itself, or stop it where it is. */
  play() {
    if (this.player.playing) this.slide(this.position);
    else this.player.start(this.position);
    this.draw();
  }

  /**
   * Show λ on its way. Nothing is measured until it stops.
   * @param {number} position of the slider, 0 to 100
   */
  glide(position) {
    this.state = { ...this.state, lam: this.lamAt(position) };
    this.model.set("controls", this.state);
    this.draw();
  }

  /** The position of the slider of λ, 0 to 100. */
  get position() {
    return Math.round(100 * positionOf(this.net.slider, this.state.lam));
  }

  /**
   * The λ that a move of the slider to a position chooses.
   * @param {number} position 0 to 100
   */
  lamAt(position) {
    const lam = +lamAt(this.net.slider, position / 100).toFixed(4);
    return fitToNetwork({ ...this.state, lam }, this.description).lam;
  }

  hold() {
    this.held = true;
  }

  release() {
    this.held = false;
    this.draw();
  }

  /** @param {Pace} pace */
  setPace(pace) {
    this.connection.set("pace", pace);
    this.draw();
  }

  /** @param {Message} message */
  send(message) {
    this.connection.send(message);
  }

  /**
   * Move the dials to a state that is given as text.
   * @param {string} text
   */
  paste(text) {
    try {
      this.move(readState(text, this.state, this.description));
      this.header.write(this.state);
    } catch (error) {
      this.fault = `Cannot read the state “${shortened(text)}”: ${messageOf(error)}`;
      this.draw();
    }
  }

  /** Move the dials to the state in the address. The page then keeps what it cannot read out of it. */
  takeAddress() {
    const { state, faults } = readWhatFits(location.hash, this.state, this.description);
    this.move(state);
    this.header.write(this.state);
    if (!faults.length) return;
    this.fault = `Left out of the address: ${faults.slice(0, MOST_FAULTS).join("; ")}`;
    this.draw();
  }

  /**
   * Tell users of screen readers.
   * @param {string} text
   */
  announce(text) {
    this.announcement.textContent = text;
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.key === "Escape" && this.player.playing) this.play();
    event.stopPropagation(); // JupyterLab has other uses for the arrow keys
  }
}

/**
 * The value of data-phase on the page.
 * @param {View} view
 */
function phaseOf({ reading: { settled, attacking } }) {
  if (settled) return "settled";
  return attacking ? "walk" : "estimate";
}

/**
 * @param {unknown} error
 */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

export default { render };
