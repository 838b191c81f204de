"""Parts of a conditioned layer, one idea per file. `unit.py` combines them."""
