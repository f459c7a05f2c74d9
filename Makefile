# The whole interface of a developer: make ablate | test | test-slow | check | bench | bench-gpu.
# Each installs what it needs into .venv first; nothing else has to be typed on a clean clone.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
BENCHMARKS := $(filter-out benchmarks/bench_gpu.py,$(sort $(wildcard benchmarks/bench_*.py)))
GPU_OPTIONS ?=

.PHONY: ablate test test-slow check bench bench-gpu install
.DELETE_ON_ERROR:

# The main job on the embedded data, about 4 minutes on two cores.
ablate: $(INSTALLED)
	@$(BIN)/python -m orchestrator.ablate

# Fast tests first; one run, so that one line closes it.
test: $(INSTALLED)
	@$(BIN)/python -m pytest -q -m "not slow" tests/unit tests/conformance tests/parity tests/integration

# Killed processes, hung workers and lost nodes, minutes each.
test-slow: $(INSTALLED)
	@$(BIN)/python -m pytest -q -m slow tests/integration

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

bench: $(INSTALLED)
	@set -e; for script in $(BENCHMARKS); do \
	  echo "== $$script"; $(BIN)/python -m benchmarks.$$(basename $$script .py); \
	done

# For whoever has GPUs: prints tables to paste into benchmarks/. GPU_OPTIONS="--small" needs none.
bench-gpu: $(INSTALLED)
	@$(BIN)/python -m benchmarks.bench_gpu $(GPU_OPTIONS)

install: $(INSTALLED)

# The project itself is an empty package (see pyproject.toml): this installs what it depends on
# and removes what its build leaves in the tree.
$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into .venv: some minutes and 7 GB, mostly torch. Once."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt ".[dev]"
	@rm -rf build *.egg-info
	@touch $@
