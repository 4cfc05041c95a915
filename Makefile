# The two commands of a newcomer: `make run` and `make test`. Everything is set up by them.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast lint format bench pcsc clean

help:
	@echo "make run        take card payments on a real four-party network for half a minute, and see the report"
	@echo "make test       the whole test suite"
	@echo "make test-fast  the unit tests only"
	@echo "make lint       ruff, mypy and the import contracts"
	@echo "make bench      the benchmarks"
	@echo "make pcsc       add what reads cards through PC/SC (needs libpcsclite-dev, swig and a C compiler)"
	@echo "make setup      only make the virtual environment"

setup: .venv/ready

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "fourparty needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "setting up .venv (once) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: setup
	@$(BIN)/fourparty run street_market --live --duration 30s

# simulated networks share the cores; what starts services has the machine to itself
test: test-fast
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "slow and not live"
	@$(BIN)/python -m pytest -m live

test-fast: setup
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "not live and not slow"

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: .venv/bench
	@$(BIN)/python -m benchmarks

.venv/bench: .venv/ready requirements-bench.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

pcsc: .venv/pcsc

.venv/pcsc: .venv/ready requirements-pcsc.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-pcsc.lock
	@touch $@

clean:
	rm -rf .venv build dist runs/* .mypy_cache .ruff_cache .import_linter_cache .hypothesis
