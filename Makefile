PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The flags of `make run`. Its run folder is OUT, by default runs/<time>-<data>-<model>.
RUN_FLAGS := --data towels --devices 20000 --unit interaction --epsilon 8
FEDERATION_FLAGS := --data towels --devices 8 --unit interaction --epsilon 8 --rounds 10
FLOWER := runs/flower-$(shell date +%Y%m%d-%H%M%S)
FLOWER_DEVICES := 300
FIGURES := runs/figures
LINEAR := experiments/frontier/grids/linear.toml
DATA := ../shared/data

# Flower and Ray report no usage to their makers.
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help install install-bench install-sequence run federation flower figures docs bench bench-small test test-slow test-all lint format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED) ## create .venv and install the project with the versions in constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[data,ray,excel,tune,federation,baselines,dev,docs]" -c constraints.txt
	touch $@

install-bench: install ## add pfl-research for terry bench (without its dependencies, whose pins conflict with ours)
	$(BIN)/python -m pip install --quiet -e ".[bench]" -c constraints.txt
	$(BIN)/python -m pip install --quiet --no-deps "pfl>=0.6,<0.7"

install-sequence: ## install RecTools' SASRec into .venv-sequence, because it needs an older numpy than ours
	test -x .venv-sequence/bin/python || $(PYTHON) -m venv .venv-sequence
	.venv-sequence/bin/python -m pip install --quiet "rectools[torch]>=0.19,<0.20" "torch==2.13.0"

run: install ## simulate a federation of 20,000 towel shoppers under the promise ε = 8
	$(BIN)/terry simulate $(RUN_FLAGS) $(if $(OUT),--out "$(OUT)")

federation: install ## run a server and 8 devices as processes with TLS and keys, train, and stop them all
	$(BIN)/terry federation up $(FEDERATION_FLAGS) $(if $(OUT),--out "$(OUT)")

flower: install ## run the same two apps with `flwr run` on Ray, and stop every process it starts
	$(BIN)/terry data partition towels $(FLOWER)/devices --devices $(FLOWER_DEVICES)
	$(BIN)/python -m terrycloth.experiments.runs.flower_run $(FLOWER)/devices $(FLOWER)

figures: install ## remake the accuracy figures and tables of README; DATA holds ml-100k, ml-1m, online-retail
	$(BIN)/terry frontier --out $(FIGURES)/towels
	$(BIN)/terry frontier $(LINEAR) --data complete-journey --split date,next-visit --out $(FIGURES)/complete-journey
	test ! -e $(DATA)/online-retail || $(BIN)/terry frontier $(LINEAR) --data online-retail --split date,next-visit \
		--path $(DATA)/online-retail/online-retail.parquet --out $(FIGURES)/online-retail
	test ! -e $(DATA)/ml-100k || $(BIN)/terry frontier $(LINEAR) --data movielens --path $(DATA)/ml-100k \
		--split next-visit --delta 1e-4 --out $(FIGURES)/movielens
	test ! -e $(DATA)/ml-100k || $(BIN)/terry frontier experiments/frontier/grids/last-item.toml --path $(DATA)/ml-100k \
		--out $(FIGURES)/movielens-last-item
	test ! -e $(DATA)/ml-1m || $(BIN)/terry frontier experiments/frontier/grids/movielens-1m.toml --path $(DATA)/ml-1m \
		--out $(FIGURES)/movielens-1m
	test ! -e $(DATA)/ml-100k || $(BIN)/terry frontier experiments/frontier/grids/leak.toml --path $(DATA)/ml-100k \
		--out $(FIGURES)/leak
	test -e $(FIGURES)/run || $(BIN)/terry simulate $(RUN_FLAGS) --seed 1 --out $(FIGURES)/run
	cp $(FIGURES)/run/figures/accuracy.png docs/accuracy.png
	cp $(FIGURES)/towels/figures/frontier-towels-20000-date.png docs/frontier.png
	$(BIN)/python -m terrycloth.experiments.reports.readme README.md docs/results.md docs/last-item.md $(FIGURES)

docs: install ## build the documentation into build/docs, with warnings as errors
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html -d build/doctrees docs build/docs
	@echo build/docs/index.html

bench: install ## compare a round with Opacus, Flower with Ray and pfl-research (takes some minutes)
	$(BIN)/terry bench $(if $(OUT),--out "$(OUT)")

bench-small: install ## run a smaller comparison; fail unless Opacus takes at least 50 times as long
	$(BIN)/terry bench --quick --require opacus=50 $(if $(OUT),--out "$(OUT)")

test: install ## run the quick tests
	$(BIN)/pytest -n auto --maxprocesses 4 -m "not slow and not federation"

test-slow: install ## run the tests that are slow or start processes
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadgroup -m "slow and not federation"
	$(BIN)/pytest -m federation

test-all: test test-slow ## run every test

lint: install ## check style, formatting, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## reformat the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove caches and build leftovers; keep .venv and runs
	rm -rf build dist docs/reference/api *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
