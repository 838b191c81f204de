"""Training: every system is a row of one table, served by one step and one loop.

* recipes: the table, and `build`.
* losses: training losses.
* labels: the targets of a loss.
* published: options and a loss with which a row agrees with the public code of its paper.
* published_files: `load_published`, which reads weight files of that public code.
* published_names: the names of its tensors, and the sizes that follow from them.
* presets: the numbers of a training run.
* lambda_batch: the batch of a training step, sorted by λ.
* step: one training step.
* reduce: adds up gradients over processes.
* loop: the training loop, checkpoints and `train`.
* monitor: a look at validation images, which stops a failing run.
* rewire: masks that move during training.
"""
