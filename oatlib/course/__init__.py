"""What the lessons use: records, live figures and exercises.

* lesson: guesses, bundled networks and records.
* sliders: a figure with live controls.
* figures: the one look of all figures.
* frauds: networks whose robustness is overestimated on purpose.
* exercises: checks that name the mistake.
"""
