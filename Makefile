# The first target that needs Python makes .venv with everything in it; later runs start at once.
.DEFAULT_GOAL := help
.PHONY: help explore lab check test docs notebooks bench soak venv clean

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p $(NEW_ENOUGH) 2>/dev/null && echo $$p && break; done)

# Errors only. Kernels are encrypted, and need no pings on this machine; Jupyter warns about both.
# notebook_shim translates settings of before 2021, and warns about one that it looks at.
QUIET_LAB := --ServerApp.log_level=ERROR --LabApp.log_level=ERROR --KernelManager.transport_encryption=auto \
	--ServerApp.tornado_settings='{"ws_ping_interval": 0}' --ServerApp.jpserver_extensions='{"notebook_shim": False}'

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1  /p' $(MAKEFILE_LIST) | awk '{t = $$1; $$1 = ""; printf "make %-11s%s\n", t, $$0}'

explore: $(READY)  ## open the explorer: sliders that move real networks, in the browser
	$(BIN)/oatlib explore

lab: $(READY)  ## open the notebooks in JupyterLab, on this machine only
	@echo "JupyterLab opens in the browser. Ctrl-C here, twice, ends it."
	$(BIN)/jupyter lab --ip=127.0.0.1 $(QUIET_LAB) notebooks

check: $(READY)  ## what to run before every commit, in a minute: format, lint, types, unit tests
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/python -m mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not browser and not notebook and not slow" -n auto --maxprocesses 2 --dist loadfile --no-loadscope-reorder tests

test: $(READY)  ## style checks, types, and all tests
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/python -m mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p tests.notebooks.gate --nbval-lax --nbval-current-env -n auto --maxprocesses 2 --dist loadfile notebooks

docs: $(READY)  ## build the documentation site: build/site/index.html
	$(BIN)/python -m sphinx -W --keep-going --quiet -c docs . build/site

notebooks: $(READY)  ## make the notebooks from authoring/source, in Chromium (NAMES=01_attack for one)
	$(BIN)/python authoring/make.py $(NAMES)

bench: $(READY)  ## measure speed, as ratios
	$(BIN)/python -m bench

soak: $(READY)  ## kill trainings and sweeps at random moments, and fuzz what reads files (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.soak
	SOAK=30 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_fuzz.py

venv: $(READY)  ## make .venv with everything, again if pyproject.toml has changed

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "oatlib needs Python 3.11 or newer, and no python3 here is. Install one, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) $(NEW_ENOUGH) || { echo "oatlib needs Python 3.11 or newer; $(PYTHON) is not. Name another: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	@echo "installing oatlib and everything it uses into $(VENV), once (minutes, and gigabytes on Linux: PyTorch)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	@touch $@

clean:  ## remove .venv and caches; data stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
