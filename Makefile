# make setup   makes .venv with ovseg (editable) and the development tools; done again when pyproject.toml changes
# make demo    setup, then FC-CLIP and Trident on the pictures that come with ovseg: numbers and a page
# make test    setup, then style, types and the tests; what CI runs

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-pyproject
SOURCES := ovseg tests $(wildcard benchmarks)

# Each test process computes on one core; with more threads than cores torch is slower, not faster.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format types clean

help: ## say what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(STAMP) ## make .venv with ovseg and the development tools

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		found=$$($(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null || echo no Python); \
		echo "ovseg needs Python 3.10 or later; '$(PYTHON)' is $$found." \
			"Run: make $(MAKECMDGOALS) PYTHON=/path/to/python3.10" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup ## FC-CLIP and Trident side by side, without any download: numbers and a page of pictures
	$(BIN)/ovseg demo

test: setup ## style, types and all tests
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses $(WORKERS)

lint: setup ## style only
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

format: setup ## put the code into the style
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

types: setup ## types only
	$(BIN)/mypy

clean: ## remove .venv, caches and build results
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
