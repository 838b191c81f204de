"""Training: every system is a row of one table, served by one step and one loop.

* recipes: the table, and `build`.
* losses: training losses.
* presets: the numbers of a training run.
* step: one training step.
* loop: the training loop, checkpoints and `train`.
* monitor: a look at validation images, which stops a failing run.
* rewire: masks that move during training.
"""
