"""Many runs from one file: which runs, their processes, their results, and the report.

* plan: what a sweep is, read from TOML and checked completely.
* runs: the three kinds of runs (notebook, training, measurement) and what they need.
* store: results on disk, addressed by parameters, code and data.
* pool: the processes that work, through Dask, or this process.
* sweep: `sweep` itself.
* groups: runs that differ in their seed only, with means and intervals.
* report, page: what was found, as text, as figures, as a web page and as a notebook.
"""
