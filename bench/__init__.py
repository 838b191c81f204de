"""Speed, as ratios measured side by side in one run. `python -m bench` prints a table and writes bench/results/*.json."""
