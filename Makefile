# Parley. `make` alone lists what there is.

PYTHON ?= python3
BIN := .venv/bin
# Wheels only: an install never compiles, and never runs a package's own build code.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --quiet --root-user-action=ignore
PINNED := $(INSTALL) --require-hashes --only-binary=:all:

.PHONY: help run test lint format clean
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: .venv/run.stamp ## Serve the chat on http://127.0.0.1:8000 (HOST, PORT, PARLEY_DATA_DIR and DB_URL change that)
	@exec $(BIN)/python -m app serve

test: .venv/dev.stamp ## Run all tests on a real PostgreSQL (ARGS="-k word" chooses)
	@exec $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile $(ARGS)

lint: .venv/dev.stamp ## Check style, types and import directions
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet --noconftest tests/test_imports.py

format: .venv/dev.stamp ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove the virtual environment and caches; the data in .parley stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

.venv/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Parley needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1)." \
		"Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making the virtual environment .venv ..."
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/run.stamp: .venv/made.stamp requirements-run.txt pyproject.toml
	@echo "Installing (pinned versions with known hashes) ..."
	@$(PINNED) -r requirements-run.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements-dev.txt
	@echo "Installing the tools for development ..."
	@$(PINNED) -r requirements-dev.txt
	@touch $@
