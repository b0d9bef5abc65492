# Everything runs in .venv; the first target that needs it makes it.
PYTHON ?= python3.11
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-quick check lint types format bench bench-quick chaos docs clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

.venv/.service: pyproject.toml client/pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[ui]' --editable ./client
	@touch $@

# PyTorch first and alone, so that a build of it that is at hand (such as the CPU's) is taken.
.venv/.complete: .venv/.service
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[train,ui]' --editable ./client --group dev
	@touch $@

setup: .venv/.complete ## Install everything that developing takes into .venv

demo: .venv/.service ## Run the main job: agent, Kafka, pairs, a training, an archived model
	$(BIN)/pairstream demo $(ARGS)

test: .venv/.complete ## Run all tests (ARGS="-k name" for some)
	$(BIN)/python -m pytest $(ARGS)

QUICK := not (kafka or docker or broker or training or long)

test-quick: .venv/.complete ## Run the tests that need no broker, engine or training, in a minute
	$(BIN)/python -m pytest -n 2 -m "$(QUICK)" $(ARGS)

check: lint types test ## What a change must pass

lint: .venv/.complete ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.complete ## Check types
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 client/pairstream_client
	cd examples/free_space_agent && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache *.py

format: .venv/.complete ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/.bench: .venv/.complete
	$(BIN)/pip install --quiet --group bench
	@touch $@

bench: .venv/.bench ## Measure all of docs/performance.md, 15 minutes (needs KAFKA_HOME)
	$(BIN)/python -m benchmarks $(ARGS)

bench-quick: .venv/.bench ## The same over smaller loads, 3 minutes (needs KAFKA_HOME)
	$(BIN)/python -m benchmarks --quick $(ARGS)

chaos: .venv/.complete ## Strike a deployment at random; nothing may be lost or twice (needs KAFKA_HOME)
	$(BIN)/python -m tests.chaos $(ARGS)

.venv/.docs: .venv/.service
	$(BIN)/pip install --quiet --group docs
	@touch $@

# Without --quiet, which mutes the warnings that --strict counts.
docs: .venv/.docs ## Build the pages of docs/ as a site into build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## Remove the environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
