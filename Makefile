.DEFAULT_GOAL := help
# Looked up by the shell at each use: `setup` may only just have installed it.
UV := $$(command -v uv || ls .tools/bin/uv 2>/dev/null || echo python3 -m uv)
RUN := $(UV) run --frozen
# Every process of a stack would compile its two thousand modules anew: 9 s of CPU instead of 3.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo dev test check format bench load answers faults

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup:  ## Install uv (through pip, if absent) and the locked dependencies
	@command -v uv >/dev/null || test -x .tools/bin/uv || python3 -m uv --version >/dev/null 2>&1 \
		|| { echo "Installing uv into .tools"; python3 -m venv .tools && .tools/bin/python -m pip install --quiet uv; } \
		|| python3 -m pip install --quiet --user uv
	@$(UV) sync --frozen --quiet --compile-bytecode

demo: setup  ## Start everything, index the sample documents, ask questions, show the answers
	@$(RUN) moorage demo

dev: setup  ## Start everything in the same home as the demo and keep it running (Ctrl-C stops it)
	@$(RUN) moorage dev

format: setup  ## Format and mend what can be mended mechanically
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

check: setup  ## Format, lint, types, import contracts
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@$(RUN) lint-imports

test: check  ## Check, then every test, on the real stores (builds Weaviate the first time)
	@$(RUN) pytest

bench: setup  ## Measure latency and throughput on this machine and print a table
	@$(RUN) python -m tests.bench

load: setup  ## Ramp, flood and stall a stack on this machine and print what it still does
	@$(RUN) python -m tests.bench.load

answers: setup  ## Ask a thousand questions with known answers and print what replies and quotes are worth (MOORAGE_XQUAD)
	@$(RUN) python -m tests.bench.answers

faults: setup  ## Kill, stop and cut everything for up to two hours; nothing may be lost or done twice (FAULTS_SEED=N repeats)
	@MOORAGE_LEDGER_CALLS=10000 MOORAGE_RELEASED_TURNS=1000 MOORAGE_SEQUENTIAL_TURNS=500 $(RUN) pytest tests/faults -m "" -s
	@MOORAGE_FUZZ_REQUESTS=10000 $(RUN) pytest tests/fuzz -s
	@MOORAGE_APART_OPERATIONS=100000 $(RUN) pytest tests/authz/test_tenants_apart.py -s
