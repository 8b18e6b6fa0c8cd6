# On a fresh machine with Python 3.11 or 3.12, pip and make:
#   make lra     install, then train the baseline and a PDE variant on ListOps side by side
#   make test    install, lint, type-check, run the whole test suite
#   make check   lint, types and the tests of the core, in under a minute once it is warm
#   make docs    build the documentation and run its notebooks
# Another Python: make test PYTHON=python3.12. Each version has a virtual environment and a frozen set of its own.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := .venv$(if $(filter 3.11,$(VERSION)),,-$(VERSION))
BIN := $(VENV)/bin
# 3.13 has no frozen set and resolves its own versions.
FROZEN := $(if $(filter 3.11,$(VERSION)),constraints.txt,$(wildcard constraints-$(VERSION).txt))
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q $(addprefix -c ,$(FROZEN))
PYRIGHT := $(BIN)/pyright --pythonpath $(BIN)/python
PYTEST := $(BIN)/python -m pytest

# Without bytecode every start compiles a thousand modules again, so the caller's wish is not passed on.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: lra test check docs bench clean

lra: $(VENV)/.experiments
	$(BIN)/python -m experiments.lra

# The last run reads only the files that hold the mark, because importing the others takes longer than some of its tests.
test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYRIGHT)
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder -m 'not exhaustive and not codegen'
	$(PYTEST) -n 2 -m codegen --optimize $$(grep -rl --include='test_*.py' mark.codegen tests)

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYRIGHT) pdeformer pid & types=$$!; $(PYTEST) -m 'core and not slow and not exhaustive' \
		$$(grep -rl --include='test_*.py' mark.core tests) && wait $$types

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.experiments
	$(BIN)/python -m experiments.bench

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.%: $(VENV)/.python pyproject.toml $(FROZEN)
	$(PIP) -e '.[$*]'
	touch $@

clean:
	rm -rf .venv .venv-* .cache .pytest_cache .ruff_cache docs/_build
