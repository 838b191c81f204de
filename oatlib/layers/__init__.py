"""The parts of a conditioned layer, one idea per file; `unit.py` is the one place where they meet."""
