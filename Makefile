# Every target creates what it needs: `make demo` and `make test` work on a fresh checkout.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LIGHTNING := $(BIN)/lightning
CHECKED := src data_modules callbacks tests benchmarks
.DEFAULT_GOAL := help

.PHONY: help install demo real-sample test lint typecheck unit test-all bench bench-gpu soak tables format backbone picture wheel clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

install: $(BIN)/.installed ## make .venv and install everything into it

# $(call stage,EXPERIMENT,RUN FOLDER,WORLD): the experiment under its overlay, in a folder of its own
stage = --config experiments/$(1).yaml --config experiments/$(3)/$(1).yaml --run_dir $(2)
last = $(1)/checkpoints/last.ckpt
best = $(1)/checkpoints/best.ckpt

D := runs/demo
demo: install ## draw the miniature world, run the paper's stages on it, print the accuracies (12 to 16 minutes)
	rm -rf $(D)
	$(LIGHTNING) fit  $(call stage,pretrain,$(D)/pretrain,miniature)
	$(LIGHTNING) test $(call stage,zero_shot,$(D)/zero_shot,miniature) --model.init_from $(call last,$(D)/pretrain)
	$(LIGHTNING) fit  $(call stage,finetune,$(D)/stage_one,miniature) --model.init_from $(call last,$(D)/pretrain) --test_after best
	$(LIGHTNING) fit  $(call stage,inter_context,$(D)/stage_two,miniature) --model.init_from $(call best,$(D)/stage_one) --test_after best
	$(LIGHTNING) test $(call stage,mmvp_vlm,$(D)/mmvp,miniature) --model.init_from $(call best,$(D)/stage_two)
	$(LIGHTNING) summary $(D)

DATA ?= ../shared/data
R := runs/real_sample
RARGS = --model.backbone $(R)/pretrain/backbone --data.tokenizer $(DATA)/bert-base-uncased
SETS := --data.root $(DATA)/imagecode/mini --data.image_root $(DATA)/imagecode
real-sample: install ## the same chain, few steps, real size, on the real files below DATA (default ../shared/data)
	@test -d $(DATA) || { echo "real-sample: no folder $(DATA); set DATA=/path/to/data (docs/real-data.md says what it holds)"; exit 2; }
	rm -rf $(R)
	$(LIGHTNING) fit  $(call stage,pretrain,$(R)/pretrain,real_sample) --data.root $(DATA)/coco --data.tokenizer $(DATA)/bert-base-uncased
	$(LIGHTNING) test $(call stage,zero_shot,$(R)/zero_shot,real_sample) $(RARGS) $(SETS) --model.init_from $(call last,$(R)/pretrain)
	$(LIGHTNING) fit  $(call stage,finetune,$(R)/stage_one,real_sample) $(RARGS) $(SETS) --model.init_from $(call last,$(R)/pretrain)
	$(LIGHTNING) fit  $(call stage,inter_context,$(R)/stage_two,real_sample) $(RARGS) $(SETS) --model.init_from $(call last,$(R)/stage_one)
	$(LIGHTNING) test $(call stage,mmvp_vlm,$(R)/mmvp,real_sample) $(RARGS) --data.root $(DATA)/mmvp_vlm_sample --model.init_from $(call last,$(R)/stage_two)
	$(LIGHTNING) predict $(call stage,inter_context,$(R)/predict,real_sample) $(RARGS) $(SETS) --model.init_from $(call last,$(R)/stage_two)

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

BENCHES := attention data speed encoder_peak scaling
bench: install ## all of benchmarks/*.json: images/s, start-up and memory, attention, whole steps against their peers, encoder, scaling
	@missed=; for each in $(BENCHES); do echo "benchmarks.$$each"; \
	  OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.$$each || missed="$$missed $$each"; done; \
	test -z "$$missed" || { echo "bench: goals missed or failed:$$missed"; exit 1; }

bench-gpu: install ## pre-training and zero-shot at batch 256 on a GPU, with and without torch.compile; tells what without one
	$(BIN)/python -m benchmarks.gpu

soak: install ## two hours of training on the miniature world, watched: memory and open files must not grow
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.soak

T := results/miniature.csv
tables: install ## Tables 4 to 7 and the mask strategies on the miniature world, 3 seeds, rows into results/miniature.csv (hours; goes on where it stopped)
	$(LIGHTNING) sweep experiments/sweeps/tables.yaml --overlay experiments/miniature --out runs/tables --results $(T) --workers 2
	$(BIN)/python -m benchmarks.miniature_tables $(T)

format: install ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

B := runs/backbone
DRAW = $(BIN)/python -m data_modules.miniature --workers 2 --preset
FAMILIES := --data.root data/miniature-backbone --data.group_size 4 --model.negatives_temperature 0.3
backbone: install ## train the miniature's backbone anew (docs/miniature.md; about three hours); assets/ holds the shipped one
	$(DRAW) lesson-1 --root data/miniature-lesson-1
	$(DRAW) lesson-2 --root data/miniature-lesson-2
	$(DRAW) backbone --root data/miniature-backbone
	$(LIGHTNING) fit $(call stage,backbone,$(B)/one,miniature) --data.root data/miniature-lesson-1 --model.warmup_steps 100 --model.min_lr 5e-4 --trainer.max_steps 1000
	$(LIGHTNING) fit $(call stage,backbone,$(B)/two,miniature) --model.continue_from $(call last,$(B)/one) --data.root data/miniature-lesson-2 --model.min_lr 5e-4 --trainer.max_steps 600
	$(LIGHTNING) fit $(call stage,backbone,$(B)/families,miniature) --model.continue_from $(call last,$(B)/two) $(FAMILIES) --model.lr 8e-4 --trainer.max_steps 2600
	$(LIGHTNING) fit $(call stage,backbone,$(B)/more,miniature) --model.continue_from $(call last,$(B)/families) $(FAMILIES) --model.lr 8e-4 --trainer.max_steps 5000
	$(LIGHTNING) fit $(call stage,backbone,$(B)/last,miniature) --model.continue_from $(call last,$(B)/more) $(FAMILIES) --model.lr 6e-4 --trainer.max_steps 4000

picture: install ## draw the README's picture from the demo's stage two
	$(LIGHTNING) gallery $(D)/stage_two --image_root data/miniature/imagecode --queries 3 --to docs/candidates.png

wheel: install ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean: ## remove caches and builds; runs/ and data/ stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
