# Two commands do everything on a fresh machine with Python 3.11 or newer:
#   make demo    run the built-in evaluation and write its report
#   make test    run the fast tests
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
JOBS ?= 2

.PHONY: demo test test-all test-slow lint types docs clean

demo: .venv/.core
	$(BIN)/ddm-pyro evaluate

# One thread a test process: contending threads are far slower than none.
test test-all test-slow: export OMP_NUM_THREADS = 1

test: .venv/.dev
	$(BIN)/python -m pytest -n $(JOBS) -q

test-all: .venv/.dev
	$(BIN)/python -m pytest -n $(JOBS) -q -m "slow or not slow"

test-slow: .venv/.dev
	$(BIN)/python -m pytest -n $(JOBS) -q -m slow

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev
	$(BIN)/mypy

docs: .venv/.docs
	$(BIN)/mkdocs build --strict

# The stamp is newer than what it was installed from; a changed pyproject or constraint installs anew.
.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

.venv/.core: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,ot]'
	touch $@ .venv/.core

.venv/.docs: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf .venv build dist site *.egg-info
