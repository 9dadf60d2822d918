# Every target creates what it needs: `make demo` and `make test` work on a fresh checkout.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LIGHTNING := $(BIN)/lightning
DATA ?= ../shared/data
CHECKED := src data_modules callbacks tests
.DEFAULT_GOAL := help

.PHONY: help install demo real-sample test lint typecheck unit test-all format backbone wheel clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

install: $(BIN)/.installed ## make .venv and install everything into it

demo: install ## draw the miniature world, run the paper's five stages on it, print the accuracies
	rm -rf runs/demo
	@BIN=$(BIN) sh experiments/miniature/demo.sh

real-sample: install ## the same chain, few steps, on real files below DATA (default ../shared/data)
	rm -rf runs/real_sample
	@BIN=$(BIN) DATA=$(DATA) sh experiments/real_sample/run.sh

test: lint typecheck unit ## lint, types, tests

lint: install ## ruff: style, docstrings, complexity, security
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: install ## mypy --strict
	$(BIN)/mypy $(CHECKED)

unit: install ## the tests without the slow ones
	$(BIN)/python -m pytest -m 'not slow and not gpu'

test-all: install ## all tests, the slow ones too
	$(BIN)/python -m pytest

format: install ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

backbone: install ## train the miniature's backbone anew (about an hour on 2 cores; assets/ holds the result)
	$(LIGHTNING) fit --config experiments/backbone.yaml --config experiments/miniature/backbone.yaml

wheel: install ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean: ## remove caches and builds; runs/ and data/ stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
