// @ts-check
// A training on the page: its recipe, its buttons, and how far it is.
/** @import { Actions, Description, Reply, Training, View } from "./types.js" */
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
    this.saving = new Saving(actions);
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
      this.saving.element,
      make("p", { class: "why" }, EXPLANATION),
    );
    /** @type {Training | null | undefined} */
    this.shown = undefined;
  }

  /**
   * @param {Reply} reply
   * @param {DataView[]} buffers
   */
  hear(reply, buffers) {
    this.saving.hear(reply, buffers);
  }

  /** @param {View} view */
  update(view) {
    this.saving.update(view);
    const { training } = view;
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

/** Saves the networks that were trained on the page. They end with the page. */
class Saving {
  /** @param {Actions} actions */
  constructor(actions) {
    const show = () => this.choose(this.network.value);
    this.network = make("select", { "aria-label": "network to save", onchange: show });
    this.file = make("input", { class: "file", "aria-label": "name of the file", size: 30 });
    const network = () => this.network.value;
    const download = () => actions.send({ do: "download", network: network() });
    const save = () => actions.send({ do: "save", network: network(), name: this.file.value });
    this.status = make("p", { class: "phase", role: "status" });
    const about = "download it with the browser, as a file that oatlib.load reads";
    const aboutSave = "write it to the folder of the notebook or of `oatlib explore`";
    this.element = make(
      "div",
      { class: "saving" },
      make(
        "div",
        { class: "limits" },
        make("label", {}, "save ", this.network),
        button("download", download, about),
        make("label", {}, "or as ", this.file),
        button("save for Python", save, aboutSave),
      ),
      this.status,
    );
    this.shown = "";
    this.ends = ""; // when a network that is not saved ends
  }

  /** @param {View} view */
  update({ description: { trained, page }, state }) {
    this.ends = page ? "lives only on this page: a reload ends it" : "lives only in this kernel";
    this.element.hidden = !trained.length;
    if (this.shown === trained.join()) return;
    this.shown = trained.join();
    setOptions(this.network, trained);
    this.choose(trained.includes(state.network) ? state.network : trained[trained.length - 1]);
  }

  /** @param {string} network */
  choose(network) {
    this.network.value = network;
    this.file.value = `${network.replaceAll(/[ ,]+/g, "-")}.safetensors`;
    this.status.textContent = `“${network}” ${this.ends}.`;
  }

  /**
   * @param {Reply} reply
   * @param {DataView[]} buffers
   */
  hear(reply, buffers) {
    if (reply.kind === "file") {
      download(reply.name, buffers[0]);
      this.status.textContent = `Downloaded as ${reply.name}. Open it with: `;
      this.status.append(make("code", {}, `oatlib explore ${reply.name}`));
    } else if (reply.kind === "saved") {
      this.status.textContent = `Saved as ${reply.path}. In Python: `;
      this.status.append(make("code", {}, reply.line));
    } else if (reply.kind === "refused") {
      this.status.textContent = `Not saved: ${reply.why}`;
    }
  }
}

/**
 * Let the browser save a file.
 * @param {string} name
 * @param {DataView} content
 */
function download(name, content) {
  const url = URL.createObjectURL(new Blob([/** @type {BlobPart} */ (content)]));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
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
      `robust ${percent(last.robust, 0)} at λ = ${short(last.lam)} (quick suite, n = ${n})`;
  }
  if (name) text += `. It is in the list as “${name}”.`;
  if (note) text += ` ${note}`;
  return text;
}
