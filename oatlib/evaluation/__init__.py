"""Measurements: clean and robust accuracy along the dials, and what they are compared with.

* evaluate: measure a network at settings of λ and width.
* results: one result, and tables of results.
* baselines: the coin and interpolation along a dial.
* compare: several systems in one table.
* choose: the most robust setting within limits.
* slider: space the positions of a slider evenly.
* across_lambda: attacks made at one λ and evaluated at another.
"""
