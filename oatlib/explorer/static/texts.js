// @ts-check
// What the words of the page mean: one sentence each, by the keys that `help` takes.

/** @typedef {[term: string, meaning: string]} Entry */

/** @type {Record<string, Entry>} */
export const TEXTS = {
  // dials
  network: [
    "network",
    "A trained network. Its name is that of its training method, and the line below the list says " +
      "what it is.",
  ],
  compare: ["compare", "Draws the curves of other networks into the same picture."],
  lam: [
    "λ (lambda)",
    "The dial between accuracy and robustness: the network is most accurate at λ = 0 and most " +
      "robust to attacks at λ = 1.",
  ],
  ticks: [
    "numbers below the dial",
    "The λ at that place; they are not evenly spaced, because the slider is spread so that equal " +
      "moves change the accuracies equally.",
  ],
  fixed: [
    "λ = … only",
    "This network has no dial: it was trained at one λ, which the slider shows.",
  ],
  play: [
    "play",
    "Moves λ over its whole range in about ten seconds; the exact numbers are measured where it " +
      "stops.",
  ],
  width: [
    "width",
    "The fraction of the channels in use: a narrow network is the first channels of the wide one, " +
      "and costs less.",
  ],
  eps: [
    "ε (epsilon)",
    "The size of the attack: how far it may change each value of a pixel, in steps of 1/255; at 0 " +
      "there is no attack.",
  ],
  attack: [
    "attack",
    "A method that looks for small changes of an image that make the network misclassify it.",
  ],
  quick: [
    "quick suite",
    "A short series of attacks, fast enough to run at every move of a dial; it is within about " +
      "two points of the longer suite.",
  ],
  suite: [
    "suite",
    "A long series of attacks that was run in advance; an image counts as robust only if none of " +
      "them succeeds.",
  ],
  pgd: [
    "PGD-1 to PGD-50",
    "Projected gradient ascent with this number of steps: a single attack, so the robust accuracy " +
      "that it leaves is an upper bound.",
  ],
  pace: [
    "pause, +1, slow",
    "Hold the attack, advance it by one step, or slow it down, to watch how it finds errors.",
  ],
  choose: [
    "choose for me",
    "Moves λ and width to the most robust measured setting that keeps both limits.",
  ],
  minClean: ["clean ≥", "The least clean accuracy that is acceptable."],
  maxSize: ["cost ≤", "The most multiply-adds that are acceptable, in percent of full width."],

  // numbers
  clean: ["clean accuracy", "The percentage of unattacked images that are classified correctly."],
  robust: [
    "robust accuracy",
    "The percentage of images that are classified correctly both unattacked and attacked.",
  ],
  estimate: ["≈", "An estimate from the measured curve; without this sign the number is measured."],
  interval: [
    "95 %",
    "The interval in which the accuracy on all images of this kind lies, with a confidence of 95 %.",
  ],
  n: [
    "n",
    "The number of images on which the accuracy is measured; more images, smaller interval.",
  ],
  coin: [
    "coin",
    "A baseline: each image is answered by one of the two ends of the dial, chosen at random, so " +
      "that the clean accuracy is the same.",
  ],
  parameters: ["parameters", "The number of weights that the network uses at this width."],
  macs: ["multiply-adds", "The number of multiplications with an addition that one image costs."],
  fullWidth: ["… of full width", "The multiply-adds at this width, compared with all channels."],
  time: ["time per image", "Measured on this machine for clean images; it varies with other work."],
  nonzero: ["nonzero", "The number of weights that are not zero; a sparse network has fewer."],

  // the picture
  picture: [
    "curve",
    "The clean and robust accuracies that the dial reaches, from λ = 0 at the right to λ = 1 at " +
      "the left; further up and to the right is better.",
  ],
  point: [
    "ring and disc",
    "The current setting: a ring while it is an estimate, a disc when it is measured; the cross " +
      "is the 95 % interval. A disc can lie beside the curve, because it is measured on more or " +
      "other images than the curve, or by another attack. Drag it along the curve.",
  ],
  best: ["best possible", "No classifier of these images can lie above this curve at ε = 8/255."],
  coinLine: [
    "coin",
    "Between the two ends of the curve: each image is answered by one of them, chosen at random.",
  ],
  weak: ["PGD-20", "The same curve under one weak attack, which overestimates robust accuracy."],
  mixed: [
    "mixed outputs",
    "The two ends of the dial answer together: their class probabilities are averaged.",
  ],
  marks: [
    "networks trained for one λ each",
    "A network of its own for every λ; the number beside a diamond is that λ. It can be better " +
      "there than one network for all λ, but each has to be trained and stored.",
  ],
  thin: ["thin lines", "The same network at its other widths."],

  // the panes below the picture, and the line at the top
  gallery: [
    "six images",
    "Each image, the change that the attack makes to it, magnified, and the attacked image.",
  ],
  drawn: [
    "class, drawn, lies",
    "A faint texture that you cannot see shows the class. The drawn shape usually shows the same " +
      "class; where it shows another one, it lies.",
  ],
  seeThrough: [
    "see-through",
    "Shows the parts of each image. “Erased” is how much of a part the attack has removed, " +
      "“forged” how much texture of another class it has painted in; 100 % is as strong as the " +
      "texture of the image was.",
  ],
  answers: [
    "✓ and ✗",
    "The class that the network answers, right or wrong, and how sure it is, in percent; “step” " +
      "is the step of the attack at which the answer became wrong.",
  ],
  recipe: ["recipe", "The training method."],
  epochs: ["epochs", "How many times the training goes through all training images."],
  step: ["one step", "Trains on one more batch of images, and pauses again."],
  stop: ["stop and keep", "Ends the training and adds the network as it is to the list."],
  save: [
    "download, save for Python",
    "Saves the network as a file: in the browser, or on the machine on which oatlib runs.",
  ],
  data: ["data set", "The images that the networks were trained on and are measured on."],
  split: [
    "validation images",
    "Images that were not used in training, so the numbers are not flattered.",
  ],
  testSplit: [
    "test images",
    "Images that were not used in training. Do not choose a setting on them that you then report.",
  ],
  record: [
    "how it was made",
    "The file of each network says it: the images, the training, the command, and the hardware.",
  ],
  results: [
    "table",
    "Measured after the training on more test images than the curve. The suite is the quick one.",
  ],
  state: [
    "state",
    "The positions of all dials as text: copy it to come back to what you see, or paste one and " +
      "press Enter.",
  ],
  theme: ["theme", "Light, dark, or the setting of the system."],
};
