// The values that Python and the front end exchange, and those that the parts of the page share.
// Accuracies are in [0, 1]. ε is in 1/255 everywhere.

export type Pace = "run" | "slow" | "pause";
export type TrainingStatus = "running" | "paused" | "finished" | "interrupted" | "stopped";

/** The positions of all dials, see state.py. */
export interface State {
  network: string;
  lam: number;
  width: number;
  eps: number;
  attack: string;
  min_clean: number;
  max_size: number;
  compare: string[];
}

/** What does not change with the dials, see description.py. */
export interface Description {
  data: string;
  split: string;
  missing: string; // what to do about images that are not here; "" if they are
  n: number;
  classes: string[];
  shape: [number, number, number]; // channels, height, width
  images: string[]; // of the gallery, see `decodeBytes`
  captions: string[];
  seeThrough: SeeThrough | null; // null: the parts of the images are not known
  attacks: string[]; // that a user can choose
  attackNames: Record<string, string>;
  maxEps: number;
  recipes: string[];
  maxEpochs: number;
  hint: string;
  reference: { best?: [number, number][]; bestEps?: number };
  networks: Record<string, Network>;
  groups: Record<string, string[]>; // names of networks by what they are
  live: boolean; // whether a kernel measures
  trained: string[]; // names of the networks that were trained on this page
  page: boolean; // whether the address of the page holds the state
  hide?: string[]; // parts of the page to leave out
  marks?: MarkedNetwork[];
}

/** What the images of the gallery are made of, see see_through.py. */
export interface SeeThrough {
  paired: boolean;
  tiles: number[][]; // by class, channel by channel
  noiseFactor: number;
  images: ImageParts[];
}

export interface ImageParts {
  label: number;
  shape: string; // name of the drawn shape
  mask: string; // see `decodeBytes`
  contrast: number[]; // by channel, in [-1, 1]
  amplitude: number; // of the texture, in [0, 1]
  noise: string; // around grey
}

export interface Network {
  recipe: string;
  backbone: string;
  about: string; // one line
  facts: [word: string, text: string][]; // how it was made
  results: { title: string; headings: string[]; rows: string[][] } | null; // on test images
  stops: number[];
  slider: number[]; // λ at evenly spaced positions
  widths: number[]; // ascending
  noisy: boolean;
  stored: number;
  prices: { parameters: number; macs: number }[]; // by width
}

/** A network for one λ, drawn as a single point. */
export interface MarkedNetwork {
  name: string;
  lam: number;
  clean: number;
  eps: number[];
  robust: (number | null)[]; // by ε
  backbone?: string; // compared with networks of this backbone only
}

/** The measured grid of a network, see surface.py. null: not measured. */
export interface Surface {
  lams: number[];
  widths: number[];
  eps: number[];
  n: number; // images
  recorded: boolean; // whether its images are not here
  order: string[]; // attacks whose curves are drawn, strongest first
  clean: (number | null)[][]; // [width][λ]
  robust: Record<string, (number | null)[][][]>; // [attack][width][ε][λ]
  mixed: { attack: string; eps: number; points: [number, number, number][] } | null;
}

/** A measurement after one step of the attack, see measure.py. */
export interface Frame {
  key: [network: string, lam: number, width: number, eps: number, attack: string];
  phase: "clean" | "walk" | "settled";
  step: number;
  steps: number;
  n: number; // images that were attacked
  of: number; // images that will be attacked
  correct: number[]; // images that are still correct, by step from -1 on
  clean: number;
  robust: number;
  ms: number;
  nonzero: number;
  gallery: GalleryRow[];
}

export interface Prediction {
  said: number; // index of the class
  sure: number; // its probability
  right: boolean;
}

export interface GalleryRow {
  before?: Prediction;
  now: Prediction;
  image: string;
  fell?: number; // first step at which the image is misclassified
}

/** Galleries that were measured before the export of a page, see html.py. */
export interface Shots {
  lams: number[];
  widths: number[];
  eps: number;
  rows: GalleryRow[][][]; // [width][λ]
}

/** A training that was started on the page, see live_training.py. */
export interface Training {
  recipe: string;
  status: TrainingStatus;
  done: number;
  of: number;
  epochs: number;
  loss: number | null;
  n: number;
  frontiers: { done: number; points: LamPoint[] }[];
  note: string;
  name?: string; // of the trained network in the list
}

/** The values that Python holds, by name. */
export interface Values {
  description: Description;
  controls: State;
  surfaces: Record<string, Surface>;
  live: Frame | { key?: undefined }; // empty until something is measured
  training: Training | { status?: undefined }; // empty until a training starts
  pace: Pace;
  error: string;
  gallery?: Record<string, Shots>; // only on an exported page
}

/** The model of the widget, or its substitute on a page without a kernel. */
export interface Model {
  get<Name extends keyof Values>(name: Name): Values[Name];
  set<Name extends keyof Values>(name: Name, value: Values[Name]): void;
  save_changes(): void;
  on(event: string, callback: (reply: Reply, buffers: DataView[]) => void): void;
  off(event: string, callback: (reply: Reply, buffers: DataView[]) => void): void;
  send(message: Message): void;
}

/** An order to Python, see `Explorer._on_message`. */
export type Message =
  | { do: "hello" } // asks for the reply "hello"
  | { do: "attack-step" | "train-pause" | "train-resume" | "train-step" | "train-stop" }
  | { do: "prefetch"; lam: number }
  | { do: "train"; recipe: string; epochs: number }
  | { do: "download"; network: string } // asks for the reply "file"
  | { do: "save"; network: string; name: string }; // asks for the reply "saved" or "refused"

/** What Python answers to a message, as the event "msg:custom". */
export type Reply =
  | { kind: "hello" }
  | { kind: "file"; name: string } // its bytes are the buffer
  | { kind: "saved"; path: string; line: string } // line: Python that loads the network
  | { kind: "refused"; why: string };

/** A point in the plane of clean and robust accuracy. */
export interface Point {
  clean: number;
  robust: number;
  lam?: number;
  weight?: number;
}

/** A point of a curve along λ. */
export interface LamPoint extends Point {
  lam: number;
}

/** An accuracy, its 95 % interval, and how it is known. */
export type Accuracy = KnownAccuracy | UnknownAccuracy;
export interface KnownAccuracy {
  kind: "measured" | "estimated";
  value: number;
  low: number;
  high: number;
  n: number;
}
export interface UnknownAccuracy {
  kind: "none";
  value: null;
  low: null;
  high: null;
  n: number;
}

/** What is known at the current positions of the dials. */
export interface Reading {
  clean: Accuracy;
  robust: Accuracy;
  onCurve: { clean: number | null; robust: number | null }; // the estimates, see `estimate`
  attack: string | null; // by which `robust` is known; null at ε = 0
  frame: Frame | null; // the newest measurement, if it is of this setting and attack
  milliseconds: number | null; // per image, if they were measured at this setting
  settled: boolean;
  refining: boolean; // settled, and more images are being attacked
  attacking: boolean;
}

/** All that a part of the page needs to show the current state. */
export interface View {
  description: Description;
  state: State;
  net: Network;
  surfaces: Record<string, Surface>;
  surface: Surface; // of `net`
  reading: Reading;
  training: Training | null;
  pace: Pace;
  shots: Shots | null; // of `net`, on an exported page
  moving: boolean; // whether a slider is being dragged, or λ plays
  playing: boolean; // whether λ moves by itself
  error: string;
}

/** What the parts of the page can ask for. */
export interface Actions {
  move(change: Partial<State>): void;
  slide(position: number): void;
  play(): void;
  hold(): void;
  release(): void;
  setPace(pace: Pace): void;
  send(message: Message): void;
  paste(text: string): void;
  announce(text: string): void;
}

/** A part of the page. */
export interface Part {
  element: Element;
  update(view: View): void;
}
