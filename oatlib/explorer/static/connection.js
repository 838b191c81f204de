// @ts-check
// The connection to Python: it asks whether Python still answers, and says so if it does not.
/** @import { Message, Model, Part, Reply, Values, View } from "./types.js" */
import { button, make } from "./elements.js";
import { writeState } from "./state.js";

const BEAT = 1000; // milliseconds between an answer and the next question
// Milliseconds without an answer until Python is taken to be gone. In a notebook a cell can keep
// it busy. On the page nothing can once it has answered; before, it may still be starting.
const PATIENCE = { page: 2500, notebook: 10_000, start: 10_000 };
const REPEAT = 10_000; // milliseconds until a question without an answer is asked again
// The server ends Python when the browser leaves the page, as in a reload. The page stays on the
// screen until the next one has come. If none comes in this time (milliseconds), it asks again.
const LEAVING = 60_000;

const LEFT = "The curves are recorded, so the dials still work.";

/**
 * What answers at the address of the page: its own server, one that does not know it, or nothing.
 * @typedef {"here" | "other" | "none" | "unknown"} Server
 */

/**
 * Everything that the page tells Python goes through here.
 * @implements {Part}
 */
export class Connection {
  /**
   * @param {Model} model
   * @param {{ page: boolean, onchange: () => void, onreply: (reply: Reply, buffers: DataView[]) => void }} options
   *   page: whether `oatlib explore` serves the page; onchange: Python is lost, or it answers again
   */
  constructor(model, { page, onchange, onreply }) {
    this.model = model;
    this.page = page;
    this.patience = PATIENCE.start;
    this.onchange = onchange;
    this.lost = false;
    this.waiting = true; // whether the page shows that Python works
    /** @type {string[]} */
    this.trained = []; // networks that end with Python
    this.state = "";
    /** @type {Server} */
    this.server = "unknown";
    this.askedAt = NaN; // time of the question without an answer, in milliseconds
    this.sentAt = NaN; // time at which it was sent last
    this.answeredAt = performance.now();
    this.tickedAt = performance.now();
    this.leavingAt = -Infinity; // time at which the browser began to leave the page
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.timer = undefined;

    this.text = make("span", {});
    this.again = button("reconnect", () => location.reload());
    this.again.hidden = true;
    // In a notebook silence may only mean that a cell is running.
    const looks = page ? { class: "lost", role: "alert" } : { class: "lost soft", role: "status" };
    this.element = make("p", { ...looks, hidden: true }, this.text, " ", this.again);

    /** @type {(reply: Reply, buffers: DataView[]) => void} */
    this.onmessage = (reply, buffers) => {
      this.hear();
      if (reply.kind !== "hello") onreply(reply, buffers);
    };
    this.onleave = () => {
      this.leavingAt = performance.now();
    };
  }

  open() {
    this.model.on("msg:custom", this.onmessage);
    this.timer = setInterval(() => this.tick(), BEAT / 4);
    addEventListener("beforeunload", this.onleave);
  }

  close() {
    this.model.off("msg:custom", this.onmessage);
    clearInterval(this.timer);
    removeEventListener("beforeunload", this.onleave);
  }

  /**
   * @param {Message} message
   */
  send(message) {
    this.attempt(() => this.model.send(message));
  }

  /**
   * @template {keyof Values} Name
   * @param {Name} name
   * @param {Values[Name]} value
   */
  set(name, value) {
    this.attempt(() => {
      this.model.set(name, value);
      this.model.save_changes();
    });
  }

  /** @param {View} view */
  update({ description, reading, training, state }) {
    this.waiting = !reading.settled || training?.status === "running";
    this.trained = description.trained;
    this.state = writeState(state);
    this.write();
  }

  /** Python has sent something. */
  hear() {
    this.patience = this.page ? PATIENCE.page : PATIENCE.notebook;
    this.askedAt = NaN;
    this.answeredAt = performance.now();
    if (this.lost) this.setLost(false);
  }

  /**
   * Tell Python something. Some clients throw once they know that Python has ended.
   * @param {() => void} tell
   */
  attempt(tell) {
    try {
      tell();
    } catch (error) {
      console.warn(error);
      if (!this.lost) this.setLost(true);
    }
  }

  tick() {
    const now = performance.now();
    const slept = now - this.tickedAt > 2 * BEAT; // the computer, or a tab that is not shown
    this.tickedAt = now;
    if (now - this.leavingAt < LEAVING) return;
    if (Number.isNaN(this.askedAt)) {
      // A notebook is only asked while its reader waits, because a question keeps an idle kernel
      // from being ended.
      if (now - this.answeredAt >= BEAT && (this.page || this.waiting)) this.ask(now);
    } else if (slept) {
      this.ask(now);
    } else if (now - this.askedAt > this.patience) {
      if (!this.lost) this.setLost(true);
      if (now - this.sentAt > REPEAT) {
        this.sentAt = now;
        this.send({ do: "hello" });
      }
    }
  }

  /** @param {number} now */
  ask(now) {
    this.askedAt = now;
    this.sentAt = now;
    this.send({ do: "hello" });
  }

  /** @param {boolean} lost */
  setLost(lost) {
    this.lost = lost;
    this.element.hidden = !lost;
    this.server = "unknown";
    this.write();
    if (lost && Number.isNaN(this.askedAt)) {
      // a message could not be sent, so nothing was asked yet
      this.askedAt = performance.now();
      this.sentAt = this.askedAt;
    }
    if (lost && this.page) this.watchServer();
    this.onchange();
  }

  /** Ask the server of the page until Python answers, because it may end or begin meanwhile. */
  async watchServer() {
    while (this.lost && this.element.isConnected) {
      this.server = await askServer();
      this.write();
      await new Promise((resolve) => setTimeout(resolve, BEAT));
    }
  }

  /** Say what has ended, and what to do. */
  write() {
    if (!this.lost) return;
    this.again.hidden = this.server !== "here";
    const text = this.page
      ? `${this.whatHappened()} ${LEFT}${this.whatIsGone()}`
      : "Python does not answer: it is busy with a cell, or its kernel has ended. " +
        `${LEFT} This line goes away when Python answers; after a restart of the kernel, run ` +
        "this cell again.";
    // A text that stays the same can be selected, and is read aloud once.
    if (this.text.textContent !== text) this.text.textContent = text;
  }

  whatHappened() {
    if (this.server === "none")
      return (
        "Python and the server of this page have ended. Start `oatlib explore` again in the " +
        `terminal; with --state "${this.state}" it begins here.`
      );
    const silent = "Python does not answer any more.";
    if (this.server === "here") return `${silent} Reconnect to start it again with this state.`;
    if (this.server === "other")
      return `${silent} Another explorer runs here now: open the address that it printed.`;
    return silent;
  }

  whatIsGone() {
    if (!this.trained.length) return "";
    return " Networks that were trained here and not saved are lost.";
  }
}

/**
 * Whether the server of this page answers, and lets this page in.
 * @returns {Promise<Server>}
 */
async function askServer() {
  // No kernel has this id, so the answer of the page's own server is "404 Not Found".
  const url = new URL("api/kernels/00000000-0000-0000-0000-000000000000", location.href);
  try {
    const answer = await fetch(url, { cache: "no-store", redirect: "manual" });
    return answer.status === 404 ? "here" : "other";
  } catch {
    return "none";
  }
}
