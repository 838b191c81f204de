"""What the lessons use: records, live figures, exercises, and the code that learners keep.

* lesson: guesses, ready networks and records.
* sliders: a figure with live controls.
* figures: the one look of all figures.
* frauds: networks whose robustness is overestimated on purpose.
* own_mask, walk, one_pixel, two_opinions, gallery: the experiments of lessons 10 and 10b.
* real_images: the dials of lesson 12, on the built-in images and on photographs.
* exercises: checks that name the mistake.
* keeping: the file `my_oatlib.py`, where the answers of a learner are kept for later lessons.
* parts: the parts of OAT as learners write them, and the network that is made of them.
* rules, two_pixels, equal_passes, collapse, two_branches, curve, told_lambda, dials, live: the
  experiments of lessons 00 to 05, as far as learners need not read them.
* diagram: the block diagram that grows from lesson to lesson.
"""

from .._imports import import_jsonschema

import_jsonschema()  # before plotly imports it: a lesson starts faster
