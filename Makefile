# make demo: a real run, from nothing to pictures. make test: lint, types, tests. make bench: timings.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable
OPTIONS ?=

.PHONY: demo test lint bench clean

demo: .venv/demo
	$(BIN)/lightning-semgeom demo $(OPTIONS)

# Jobs of several processes and the demo have the machine for themselves.
ALONE := tests/distributed tests/test_demo.py

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ALONE:%=--ignore %) \
		--cov --cov-report= --cov-fail-under=0
	$(BIN)/python -m pytest $(ALONE) --cov --cov-append --cov-report=term

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/dev
	$(BIN)/python -m tests.benchmarks.geometry
	$(BIN)/python -m tests.benchmarks.losses
	$(BIN)/python -m tests.benchmarks.checkpoints
	$(BIN)/python -W ignore -m tests.benchmarks.training

.venv/python:
	$(PYTHON) -m venv .venv
	touch $@

.venv/demo: .venv/python pyproject.toml constraints.txt
	$(INSTALL) '.[demo]'
	touch $@

.venv/dev: .venv/python pyproject.toml constraints.txt
	$(INSTALL) '.[dev]'
	touch $@

clean:
	rm -rf .venv
