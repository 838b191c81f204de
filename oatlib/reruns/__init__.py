"""Notebooks as programs: run a lesson again with other parameters.

* rerun: `rerun` and its record.
* kernel: the kernel that executes a notebook.
* parameters: parameters that a notebook declares.
"""

from .._imports import import_jsonschema

import_jsonschema()  # before nbformat imports it: the program starts faster
