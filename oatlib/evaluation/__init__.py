"""Measurements: clean and robust accuracy along the dials, and what they are compared with.

* evaluate: measure a network at settings of λ and width.
* results: one result, and tables of results.
* baselines: the coin, and interpolation along a dial.
* compare: several systems in one table.
* choose: the most robust setting within limits.
* slider: fit the slider, so that equal steps of it are equal steps on the frontier.
* across_lambda: attacks made at one λ and evaluated at another.
"""
