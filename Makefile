# Needs Python 3.11 to 3.13 and make, nothing else. `make help` lists the targets.
SHELL := /bin/sh
DATA ?= data/home
VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough, runs, and can make a virtual environment.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& echo "$$p" && break; done)

.DEFAULT_GOAL := help
.PHONY: help install run dev test test-slow test-worlds lint bench bench-erasure bench-gate bench-identity \
	bench-ingestion bench-ledger bench-nightly bench-proof bench-run bench-signals fuzz constraints clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

install: $(VENV)/.installed ## Set up .venv; .venv/bin/assent is the command

run: install ## Make the demo world (once), run tonight's build, write segments, exports and a report
	@test -e $(DATA)/home.json || $(BIN)/assent --home $(DATA) demo
	@$(BIN)/assent --home $(DATA) run

dev: install ## Open the Dagster UI on 127.0.0.1 (makes the demo world first where there is no home)
	@test -e $(DATA)/home.json || $(BIN)/assent --home $(DATA) demo
	@$(BIN)/assent --home $(DATA) dev

test: $(VENV)/.dev ## Run the tests, without the slow ones
	$(BIN)/python -m pytest -q -m "not slow" -n auto --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.dev ## Run the slow tests: more kills, bigger worlds
	$(BIN)/python -m pytest -q -m slow

test-worlds: $(VENV)/.dev ## Compare 10,000 random worlds with the oracle (SEED=n: the same again)
	$(BIN)/python -m pytest -q -s -m slow tests/integration/test_worlds.py tests/integration/test_monotone.py $(if $(SEED),--worlds-seed $(SEED))

lint: $(VENV)/.dev ## ruff, mypy --strict, sqlfluff
	$(BIN)/ruff check orchestration tests
	$(BIN)/ruff format --check orchestration tests
	$(BIN)/mypy --strict
	cd dbt_project && ../$(BIN)/sqlfluff lint --disable-progress-bar --processes 2 models macros tests

bench: install ## Time each stage for 1 M touchpoints
	$(BIN)/python -m tests.bench

bench-erasure: $(VENV)/.dev ## Time erasing people from a lake of 20 M touchpoints beside one plain copy of it (ROWS)
	$(BIN)/python -m tests.bench_erasure $(if $(ROWS),--rows $(ROWS))

bench-gate: build/peers/.installed ## Time the decision for 20 M touchpoints, beside its bounds and polars, pandas, PySpark
	PYTHONPATH=build/peers $(BIN)/python -m tests.bench_gate $(if $(TOUCHPOINTS),--touchpoints $(TOUCHPOINTS))

bench-identity: $(VENV)/.dev ## Time people resolved anew and brought up to date: 1, 2 and 4 M identifiers
	$(BIN)/python -m tests.bench_identity

bench-ledger: $(VENV)/.dev ## Time the consent ledger: import of 1 M records, reading, people's requests
	$(BIN)/python -m tests.bench_ledger

bench-ingestion: $(VENV)/.dev ## Time the ingestion of 5 M lines beside DuckDB's bare readers
	$(BIN)/python -m tests.bench_ingestion

bench-nightly: $(VENV)/.dev ## What of a night's work grows with history: 20,000 touchpoints a day over 30 to 240 days
	$(BIN)/python -m tests.bench_nightly

bench-proof: $(VENV)/.dev ## CPU time of the static proof for up to 500 generated models, and how it grows
	$(BIN)/python -m tests.bench_proof

bench-run: install ## Tell where the seconds of a run on an unchanged home go
	$(BIN)/python -m tests.bench_run

bench-signals: $(VENV)/.dev ## Consent strings decoded per second and core
	$(BIN)/python -m tests.bench_signals

fuzz: build/fuzz/.installed ## Damaged input for each signal decoder for 10 minutes each (FORMATS, SECONDS)
	for name in $(or $(FORMATS),$(shell $(BIN)/python -c 'from orchestration.consent.signals.registry import NAMES; print(*NAMES)')); do \
		PYTHONPATH=build/fuzz $(BIN)/python -m tests.fuzz_signals --format $$name --seconds $(or $(SECONDS),600) || exit 1; done

constraints: ## Renew constraints.txt from what pyproject.toml resolves to today
	rm -rf build/resolve && $(PYTHON) -m venv build/resolve
	build/resolve/bin/python -m pip install -q -e '.[dev]' polars pyspark atheris
	{ echo "# Exact versions that were tested together; no hosts, no hashes. Renew with: make constraints"; \
	  build/resolve/bin/python -m pip freeze --exclude-editable --exclude assent; } > constraints.txt

clean: ## Remove .venv and caches (never $(DATA))
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find orchestration tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Assent needs Python 3.11, 3.12 or 3.13 with venv. Install one, or: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Imports dominate the run time, so the bytecode of everything is compiled here, once: on all processors, unlike pip.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV), about two minutes"
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-compile -c constraints.txt -e .
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib orchestration >/dev/null || true
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

# The peers of `make bench-gate` lie apart: great-expectations imports PySpark where it is there, and that ends the process.
build/peers/.installed: $(VENV)/.dev
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --target build/peers polars pyspark
	@touch $@

# Atheris guides the inputs of `make fuzz` by coverage; where there is none for this Python, they are seeded damage.
build/fuzz/.installed: $(VENV)/.dev
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --target build/fuzz atheris \
		|| echo "no Atheris here: our own seeded damage instead"
	@mkdir -p build/fuzz && touch $@
