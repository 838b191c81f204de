"""Notebooks as programs: run a lesson again with other parameters.

* rerun: `rerun` and its record.
* kernel: the kernel that executes a notebook.
* parameters: parameters that a notebook declares.
"""
