# make demo: a real run, from nothing to pictures. make test: lint, types, tests; make quick: without
# those that start processes or servers, and with fewer examples of each property. make bench: timings.
# make docs: the pages of docs/, in docs/_build; make test builds them too, with warnings as errors.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable
OPTIONS ?=

.PHONY: demo test quick quick-tests lint docs bench clean

demo: .venv/demo
	$(BIN)/lightning-semgeom demo $(OPTIONS)

# Two processes at work, one thread each; what is long comes first (tests/conftest.py).
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: lint
	$(PYTEST) --cov

# Side by side: the tests import for a while.
quick: .venv/dev
	$(MAKE) --no-print-directory -j 2 lint quick-tests

# Their files, at most 11 MB at a time, lie in memory where there is such a place.
quick-tests: .venv/dev
	$(if $(wildcard /dev/shm),TMPDIR=/dev/shm) $(PYTEST) -m "not processes" --hypothesis-profile quick

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going --builder html docs docs/_build

bench: .venv/dev
	$(BIN)/python -m tests.benchmarks.geometry
	$(BIN)/python -W ignore -m tests.benchmarks.others
	$(BIN)/python -m tests.benchmarks.hidden
	$(BIN)/python -m tests.benchmarks.losses
	$(BIN)/python -m tests.benchmarks.checkpoints
	$(BIN)/python -W ignore -m tests.benchmarks.training
	$(BIN)/python -W ignore -m tests.benchmarks.compiled

.venv/python:
	$(PYTHON) -m venv .venv
	touch $@

.venv/demo: .venv/python pyproject.toml constraints.txt
	$(INSTALL) '.[demo]'
	touch $@

.venv/docs: .venv/python pyproject.toml constraints.txt
	$(INSTALL) '.[docs]'
	touch $@

# Triton, whose interpreter runs the kernels of CUDA in a test, lies apart: torch would import it in
# each process that can find it.
.venv/dev: .venv/python pyproject.toml constraints.txt
	$(INSTALL) '.[dev]'
	rm -rf .venv/triton
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --target .venv/triton triton
	touch $@

clean:
	rm -rf .venv
