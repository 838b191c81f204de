// @ts-check
// A training on the page: its recipe, its buttons, and how far it is.
/** @import { Actions, Description, Training, View } from "./types.js" */
import { button, make, setOptions } from "./elements.js";
import { percent, short } from "./format.js";

const EXPLANATION =
  "Training runs while nothing is being measured. Its frontier appears in the plot above. " +
  "When it ends, the network is added to the list.";

export class TrainingPane {
  /**
   * @param {Description} description
   * @param {Actions} actions
   */
  constructor({ recipes, maxEpochs }, actions) {
    this.recipe = make("select", { "aria-label": "recipe" });
    setOptions(this.recipe, recipes);
    this.recipe.value = "oat";
    this.epochs = make("input", {
      type: "number",
      min: 1,
      max: maxEpochs,
      value: 8,
      "aria-label": "epochs",
    });
    const start = () => {
      const epochs = Math.round(+this.epochs.value);
      actions.send({ do: "train", recipe: this.recipe.value, epochs });
    };
    this.start = button("start", start);
    this.pause = button("pause", () => actions.send({ do: "train-pause" }));
    this.resume = button("resume", () => actions.send({ do: "train-resume" }));
    this.step = button("one step", () => actions.send({ do: "train-step" }));
    this.stop = button("stop and keep", () => actions.send({ do: "train-stop" }));
    this.bar = make("progress", { max: 1, value: 0, "aria-label": "training" });
    this.status = make("p", { class: "phase", role: "status" });
    this.element = make(
      "div",
      { class: "training" },
      make(
        "div",
        { class: "limits" },
        make("label", {}, "recipe ", this.recipe),
        make("label", {}, "epochs ", this.epochs),
        this.start,
        this.pause,
        this.resume,
        this.step,
        this.stop,
      ),
      this.bar,
      this.status,
      make("p", { class: "why" }, EXPLANATION),
    );
    /** @type {Training | null | undefined} */
    this.shown = undefined;
  }

  /** @param {View} view */
  update({ training }) {
    if (this.shown === training) return;
    this.shown = training;
    const running = training?.status === "running";
    const paused = training?.status === "paused";
    this.start.disabled = running || paused;
    this.pause.disabled = !running;
    this.resume.disabled = !paused;
    this.step.disabled = !paused;
    this.stop.disabled = !running && !paused;
    this.bar.value = training?.of ? training.done / training.of : 0;
    this.status.textContent = training
      ? statusText(training)
      : "nothing trained yet: about half a minute for oat on two cores";
  }
}

/** @param {Training} training */
function statusText({ recipe, status, done, of, loss, n, frontiers, note, name }) {
  let text = `${recipe}: step ${done} of ${of}`;
  if (loss !== null) text += `, loss ${loss.toFixed(2)}`;
  text += `, ${status}`;
  const points = frontiers.at(-1)?.points;
  if (points) {
    const first = points[0];
    const last = points[points.length - 1];
    text +=
      `; clean ${percent(first.clean, 0)} at λ = ${short(first.lam)}, ` +
      `robust ${percent(last.robust, 0)} at λ = ${short(last.lam)} (quick cascade, n = ${n})`;
  }
  if (name) text += `. It is in the list as “${name}”.`;
  if (note) text += ` ${note}`;
  return text;
}
