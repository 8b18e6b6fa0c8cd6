# Two commands on a fresh machine with Python 3.11, pip and make:
#   make lra     install, then train the baseline and a PDE variant on ListOps side by side
#   make test    install, lint, type-check, run the test suite
# and one for readers:
#   make docs    install, build the documentation in docs/_build/html, execute its tutorials
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# every version is frozen for Python 3.11; 3.12 and 3.13 resolve their own
CONSTRAINTS := $(shell $(PYTHON) -c 'import sys; print("-c constraints.txt" * (sys.version_info[:2] == (3, 11)))')
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q $(CONSTRAINTS)

# bytecode is kept, whatever the environment says: without it every start compiles a thousand modules anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: lra test bench docs clean

lra: $(VENV)/.core
	$(BIN)/python -m experiments.lra

# the last run reads only the files that hold the mark: to import all the others takes longer than some of its tests
test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not exhaustive and not codegen'
	$(BIN)/python -m pytest -n 2 -m codegen --optimise $$(grep -rl --include="test_*.py" mark.codegen tests)

bench: $(VENV)/.core
	$(BIN)/python -m experiments.bench

# the tutorials are executed; those that have not changed come from the cache in docs/_build
docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.core: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

$(VENV)/.test: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) -e '.[test]'
	touch $@ $(VENV)/.core

$(VENV)/.docs: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) -e '.[docs]'
	touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) docs/_build .cache .pytest_cache .ruff_cache
