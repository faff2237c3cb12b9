# sandbox-service. `make` alone says what there is.
#
# Everything is set up by the first target that needs it, in .venv, from
# requirements.lock. PYTHON chooses the interpreter: 3.11 or newer.

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help generate-check demo test serve local bench soak generate check clean setup

help: ## what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

demo: $(READY) ## the main job, from nothing to a running app and back
	@$(BIN)/sandbox-service demo

test: $(READY) ## every test that can run here; ARGS="..." goes to pytest
	$(BIN)/python -m pytest $(ARGS)

serve: $(READY) ## the service, on the embedded backend unless E2B_API_KEY is set
	$(BIN)/sandbox-service serve

local: $(READY) ## the embedded backend alone, for any client of E2B's SDK
	$(BIN)/sandbox-service local

bench: $(READY) ## our speed against the bare SDK's, side by side, as ratios
	$(BIN)/python -m tests.bench $(ARGS)

soak: $(READY) ## many rounds, minutes of chaos, syncs cut short; what is left or lost is counted
	$(BIN)/python -m tests.bench.soak $(ARGS)

generate: $(READY) ## the code in generated/ anew from protos/ (needs Go)
	PYTHON=$(CURDIR)/$(BIN)/python BUF=$(CURDIR)/$(BIN)/buf protos/generate

check: $(READY) generate-check ## lint, types, import rules, generated code up to date (needs Go)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Until the first release there is nothing to break: the baseline is written then.
generate-check: $(READY)
	PYTHON=$(CURDIR)/$(BIN)/python BUF=$(CURDIR)/$(BIN)/buf protos/generate --check
	@if [ -e protos/baseline.binpb ]; then $(BIN)/buf breaking protos --against protos/baseline.binpb; \
	  else echo "buf breaking: no release yet, so no baseline"; fi

clean: ## remove what was set up and cached here
	rm -rf .venv .tools third_party .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(READY) ## only set up

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv \
	  || { echo "Python's venv is missing. On Debian: apt-get install python3-venv" >&2; exit 2; }
	@echo "Setting up .venv ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION) \
	  && $(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock \
	  || $(BIN)/python -m pip install -q --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
