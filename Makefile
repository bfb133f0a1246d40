# The two commands to know: `make demo` and `make test`. Each sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST_ARGS ?=

.PHONY: demo test unit check format lock docs bench clean help

help:  ## say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## the main job on real input: train, package, check, publish, run, ask
	@command -v mmdebstrap >/dev/null || ! command -v apt-get >/dev/null || test "$$(id -u)" != 0 || \
		{ apt-get update -qq; apt-get install -y -qq --no-install-recommends mmdebstrap; } >/dev/null || \
		echo "mmdebstrap could not be installed: the base is taken from a registry" >&2
	@$(BIN)/python examples/sentiment/demo.py

test: check  ## everything: lint, types, and all tests
	@$(BIN)/coverage erase
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

unit: $(READY)  ## the tests that need nothing from outside: seconds
	$(BIN)/python -m pytest -q -m "not (docker or podman or registry or skopeo or envoy or wrk or mmdebstrap or sandbox or network or shared)" $(PYTEST_ARGS)

check: $(READY)  ## lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)  ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(READY)  ## resolve the development tools anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
		--all-extras --group dev -o requirements-dev.lock pyproject.toml

docs: $(READY)  ## write the generated reference pages
	$(BIN)/python docs/generate.py

bench: $(READY)  ## the measurements that the README quotes
	$(BIN)/python bench/build/bench.py
	$(BIN)/python bench/check/bench.py
	$(BIN)/python bench/rollout/simulate.py
	$(BIN)/python bench/rollout/live.py
	$(BIN)/python bench/models/bench.py
	$(BIN)/python bench/pipeline/bench.py
	$(BIN)/python bench/serving/bench.py

clean:  ## remove what was made here
	rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis dist examples/*/.serinus examples/*/.cache

# The environment: Python's own venv, uv from the index, and the locked tools by hash.
$(READY): pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11: give another one, make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) has no ensurepip: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@sed -n "/^uv==/,/[^\\]$$/p" requirements-dev.lock > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@
