# make demo   see GeoMind work: the whole story on a synthetic world, in four to five minutes
# make test   run the tests
# make fuzz   run the property tests on new examples, a thousand each
# make lint   check style and types
# make bench  measure inference and training on this machine, in about half an hour; leave it alone meanwhile

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test fuzz lint bench clean

demo: $(VENV)/.installed
	$(BIN)/geomind demo --overwrite

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2

fuzz: $(VENV)/.installed-dev
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -n 2 -m hypothesis

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -e ".[dev]"
	touch $@

bench: $(VENV)/.installed
	$(BIN)/geomind bench infer
	$(BIN)/geomind bench train --frozen --photos 5000 --rounds 3

clean:
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
