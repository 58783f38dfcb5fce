# `make check` is what CI runs and what a change must pass. PYTHON chooses the environment.
PYTHON ?= .venv/bin/python
BIN := $(dir $(PYTHON))

.PHONY: help install check format lint types imports test test-all soak bench

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

install:  ## make .venv with everything that development needs
	python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]'

check: lint types imports test  ## everything but the slow tests

format:  ## format and fix what can be fixed
	$(BIN)ruff format .
	$(BIN)ruff check --fix .

lint:  ## formatting and lint
	$(BIN)ruff format --check .
	$(BIN)ruff check .

types:  ## strict types of the public packages
	$(BIN)mypy

imports:  ## which way imports may go
	$(BIN)lint-imports

test:  ## unit tests with coverage
	$(BIN)pytest -m 'not slow' --cov --cov-report=term:skip-covered

test-all:  ## all tests, also those that take minutes
	$(BIN)pytest

soak:  ## kill a real run 200 times, resume it each time, and compare with one that nothing happened to
	FTK_SOAK_KILLS=200 $(PYTHON) -m pytest -n 0 --timeout 3600 tests/faults/test_kill.py -k killed
	FTK_SOAK_SWITCHES=1000 $(PYTHON) -m pytest -n 0 --timeout 3600 tests/tui/app/test_whole_way.py -k switches

bench:  ## tokens a second and memory next to the peers: ARGS='--trl PYTHON --llamafactory PYTHON'
	$(PYTHON) benchmarks/training.py $(ARGS)
