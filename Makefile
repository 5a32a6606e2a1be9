# Every habit of this project is a target here; CI calls only these.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
# Both stamps are files, so that an environment that is up to date costs nothing.
RUNTIME := .venv/.runtime
DEV := .venv/.dev
PEERS := .venv-peers/.installed

.PHONY: help environment up down test faults model-check fuzz soak check lint types imports migrations-check spec-check audit bench bench-peers story sdk migration image lock format clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

environment: $(DEV) node_modules ## Install all that the other targets need

up: $(RUNTIME) ## Start everything on this machine; OPTIONS="--detach --port 8000 --workers 2"
	$(BIN)/torchqueue up $(OPTIONS)

down: $(RUNTIME) ## Drain and stop what `make up` started
	$(BIN)/torchqueue down

test: $(DEV) node_modules ## Run all tests with branch coverage; ARGS="tests/unit -x" for some
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	rm -f .coverage*
	failed=; $(MAKE) --no-print-directory --keep-going $(AT_ONCE) --output-sync test-integration test-unit test-e2e || failed=1; \
	$(BIN)/python -m slipcover --merge .coverage.*.json --out .coverage.json --fail-under 90 && test -z "$$failed"
endif

# Two at a time, or as many as are left of what a make above this one was given.
AT_ONCE = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,--jobs=2)

# The end-to-end tests ask processes of their own, so there is nothing to count; they mostly wait, so two processes share
# their files, each with a stack.
test-e2e: COUNTED :=
test-e2e: LANES := --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# Two of these run side by side, each in its own process and in the order of its files, with a folder of its own: pytest
# would take the one that all share from under the servers of the other.
test-%: COUNTED = -W "ignore:Unable to activate pytest" -m slipcover --out .coverage.$*.json
test-%: $(DEV) node_modules
	export PYTEST_DEBUG_TEMPROOT=$$(mktemp -d) && chmod 755 $$PYTEST_DEBUG_TEMPROOT && \
	  trap 'rm -rf $$PYTEST_DEBUG_TEMPROOT' EXIT && $(BIN)/python $(COUNTED) -m pytest tests/$* $(LANES)

faults: $(DEV) ## Break a real stack on purpose and count what is lost; SIZE=commit|nightly|release ARGS="--resume --only valkey"
	$(BIN)/python -m tests.faults --size $(or $(SIZE),commit) $(ARGS)

# Hundreds of addresses, every operation with every kind of key, and weights that are no weights.
BAD_INPUTS := tests/unit/store/test_outward.py tests/integration/webapp/test_authorisation.py tests/unit/ml/test_never_unpickled.py

model-check: $(DEV) ## Check the protocol of the queue in every order of steps and faults, and that bugs are found
	$(BIN)/python -m tests.model_check $(ARGS)

fuzz: $(DEV) ## Ask every operation badly, send broken requests and corrupt pictures, and count what becomes of them
	$(BIN)/python -m tests.fuzz.operations
	$(BIN)/python -m tests.fuzz.raw
	$(BIN)/python -m tests.fuzz.images
	$(MAKE) --no-print-directory test ARGS="$(BAD_INPUTS)"

soak: $(DEV) ## Run at 70 % load with a fault every two minutes and look for leaks; MINUTES=30
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30) $(ARGS)

check: lint types imports migrations-check spec-check ## Check style, types, imports, migrations and the OpenAPI document

lint: $(DEV) ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV) ## Repair style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(DEV) ## Check types, strictly
	$(BIN)/mypy

imports: $(DEV) ## Check who imports whom
	$(BIN)/lint-imports

# Any URL does: `--sql` prints the statements and connects to nothing.
migrations-check: $(DEV) ## Check that migrations take no dangerous locks
	TORCHQUEUE_DATABASE_URL=postgresql+psycopg2:/// TORCHQUEUE_REDIS_URL=redis:// \
	  $(BIN)/alembic upgrade head --sql 2>/dev/null | $(BIN)/squawk --config .squawk.toml

spec-check: $(DEV) node_modules ## Check the OpenAPI document and its snapshot
	$(BIN)/python -m webapp.spec --check
	$(BIN)/openapi-spec-validator docs/openapi.json
	npm run --silent lint-spec

audit: $(DEV) node_modules ## Look the pinned packages up among known vulnerabilities
	$(BIN)/python deploy/audit.py

node_modules: package.json package-lock.json
	npm ci --silent
	@touch node_modules

bench: $(DEV) ## Measure every figure and print one table; ARGS="--only xor,resnet18 --seconds 10" for some
	$(BIN)/python -m benchmarks.run $(ARGS)

bench-peers: $(DEV) $(PEERS) ## Measure other serving systems in turn with ours, and print the ratios
	$(BIN)/python -m benchmarks.run --only peers,peers-xor $(ARGS)

story: $(DEV) ## Tell the story of a model that learns, and write var/story/report.html; ARGS="--small" for a short one
	$(BIN)/python -m benchmarks.story $(ARGS)

sdk: $(DEV) ## Generate the client SDKs into sdk/
	$(BIN)/python sdk/generate.py

migration: $(DEV) ## Draft a migration from the tables; MESSAGE="add feedback"
	@test -f var/stack.env || { echo "autogenerating compares with a database: run 'make up' first" >&2; exit 1; }
	set -a; . var/stack.env; set +a; $(BIN)/alembic revision --autogenerate -m "$(MESSAGE)"

image: ## Build the container image and try it
	deploy/build-image.sh

lock: $(DEV) ## Pin the requirements anew
	deploy/lock-requirements.sh

clean: ## Remove environments and caches, not var/
	rm -rf .venv .venv-peers node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# Compiled once: a stack is a dozen processes, and where Python may not write bytecode each would compile torch anew, in seconds.
$(RUNTIME): requirements/runtime.txt requirements/embedded.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("torchqueue needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements/runtime.txt -r requirements/embedded.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

$(DEV): $(RUNTIME) requirements/dev.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements/dev.txt
	@touch $@

# An environment of their own: what they pin must not touch ours.
$(PEERS): $(RUNTIME) requirements/peers.txt
	test -x .venv-peers/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python .venv-peers
	$(BIN)/uv pip install --quiet --compile-bytecode --python .venv-peers/bin/python -r requirements/peers.txt
	@touch $@
