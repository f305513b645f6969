# `make help` lists the targets. Everything runs in .venv, which `make setup` fills from hash-locked requirements.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The first of these that is Python 3.11 or later. Each is run, as a pyenv shim may exist without its Python.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

PY := .venv/bin/python
BIN := .venv/bin
INSTALLED := .venv/.installed
BUILDER_LOCK := $(wildcard builder/package-lock.json)
BUILDER_INSTALLED := $(if $(BUILDER_LOCK),builder/node_modules/.installed)
NPM := $(shell command -v npm)

export SAM_CLI_TELEMETRY := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: $(INSTALLED) $(if $(NPM),$(BUILDER_INSTALLED)) ## Install what the other targets need
	@[ -n "$(NPM)" ] || echo "make: npm is not here, so only plain HTML can be built; install Node.js 20 or later for the rest" >&2

$(INSTALLED): requirements-dev.txt
	@[ -n "$(PYTHON)" ] || { echo "make: Python 3.11 or later is needed; set PYTHON=/path/to/python3" >&2; exit 1; }
	@[ -x $(PY) ] || $(PYTHON) -m venv .venv || { echo "make: $(PYTHON) cannot make a .venv; install its venv package (Debian: python3-venv)" >&2; exit 1; }
	@# The lock is complete, so there is nothing to resolve; pip before 24 also trips over extras when it does.
	$(PY) -m pip install --quiet --no-deps --require-hashes -r requirements-dev.txt
	@touch $@

builder/node_modules/.installed: $(BUILDER_LOCK)
	@[ -n "$(NPM)" ] || { echo "make: npm is needed for the builder; install Node.js 20 or later" >&2; exit 1; }
	cd builder && npm ci --no-audit --no-fund
	@touch $@

.PHONY: check
check: $(INSTALLED) ## Check format, lint, types, import rules, template
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	PYTHONPATH=layers/shared:. $(BIN)/lint-imports
	@# The SAM CLI wants a region even here. It is not exported: it would overrule the one `make deploy` is to use.
	AWS_DEFAULT_REGION=us-east-1 $(BIN)/sam validate --lint
	$(BIN)/cfn-lint

.PHONY: format
format: $(INSTALLED) ## Format the code and fix what can be fixed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: test
test: $(INSTALLED) $(BUILDER_INSTALLED) ## Run all tests
	$(BIN)/pytest -n 2 --dist loadgroup --ignore=tests/benchmarks

.PHONY: simulate
simulate: $(INSTALLED) ## Run SEEDS=100000 schedules of all that goes wrong; SEED=7 prints one
	PYTHONPATH=layers/shared:. $(PY) -m tests.simulation --seeds $(or $(SEEDS),100000) $(if $(SEED),--seed $(SEED))

.PHONY: bench
bench: $(INSTALLED) $(BUILDER_INSTALLED) ## Run the benchmarks
	$(PY) -m tests.benchmarks.pipeline
	$(PY) -m tests.benchmarks.cold_start
	$(PY) -m tests.benchmarks.forwarder
	$(PY) -m tests.benchmarks.sending
	PYTHONPATH=layers/shared:. $(PY) -m tests.benchmarks.writes

.PHONY: run
run: setup ## Start the local stack; REPO=<git URL> builds that repository
	$(PY) -m local

.PHONY: build
build: $(INSTALLED) ## Build what is deployed, compiled ahead for the Lambda runtime (needs python3.13)
	@python3.13 -c '' 2>/dev/null || { echo "make: python3.13 is needed to build for the Lambda runtime" >&2; exit 1; }
	$(BIN)/sam build
	@# Lambda cannot write .pyc files, so without them each cold start compiles everything again.
	python3.13 -m scripts.finish_build .aws-sam/build

.PHONY: deploy
deploy: build ## Deploy to your AWS account, and the builder's image with it (needs Docker)
	$(PY) scripts/prepare_account.py
	$(BIN)/sam deploy
	@# The repository comes with the stack, so the image can only follow; the stack then names it by its digest.
	image=$$($(PY) -m scripts.push_builder) && $(BIN)/sam deploy --no-confirm-changeset --parameter-overrides BuilderImage=$$image

.PHONY: sites
sites: $(INSTALLED) ## Serve the deployed stack's sites on this machine
	$(PY) -m local sites

.PHONY: replay
replay: $(INSTALLED) ## Replay the deployed stack's dead letters; ARGS=--dry-run only lists them
	$(PY) -m scripts.replay $(ARGS)

.PHONY: lock
lock: $(INSTALLED) ## Lock the newest versions of all Python dependencies
	cd layers/shared && ../../$(BIN)/uv pip compile $(UV_FLAGS) requirements.in -o requirements.txt
	$(BIN)/uv pip compile $(UV_FLAGS) requirements-dev.in -o requirements-dev.txt
	cd tests/benchmarks && ../../$(BIN)/uv pip compile $(UV_FLAGS) requirements.in -o requirements.txt

UV_FLAGS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock"

.PHONY: sam-local
sam-local: $(INSTALLED) ## Run every function with each of its events in sam local (needs Docker); ARGS=--stay keeps it up
	PYTHONPATH=layers/shared $(PY) -m scripts.sam_local $(ARGS)

.PHONY: clean
clean: ## Remove all that the other targets made
	rm -rf .venv .aws-sam .tidegate builder/node_modules .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
