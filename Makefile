# Everything is installed into .venv, once, and again when pyproject.toml changes.
# Another Python:       make test PYTHON=python3.13 VENV=.venv313
# A part of the tests:  make test ARGS="tests/losses_test.py -k cross_entropy"

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
RUN := $(VENV)/bin/python

.PHONY: help demo test lint check format

help:
	@echo "make demo    generate data, train a network on them in minutes, evaluate it; maps of photographs (demo/)"
	@echo "make test    the tests"
	@echo "make check   formatter, linter, types and tests: all that has to pass"
	@echo "make format  lay the code out"

demo: $(VENV)/installed-demo
	$(RUN) -m btbnet_jax data simulated --config generated --data-dir demo/data
	$(RUN) train.py --flagfile=configs/demo.flags
	$(RUN) evaluate.py --flagfile=configs/demo_evaluate.flags
	$(RUN) docs/examples.py demo/photographs.png

test: $(VENV)/installed-dev
	$(RUN) -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile $(ARGS)

lint: $(VENV)/installed-dev
	$(RUN) -m ruff format --check
	$(RUN) -m ruff check
	$(RUN) -m pyright --pythonpath $(RUN)

check: lint test

format: $(VENV)/installed-dev
	$(RUN) -m ruff format
	$(RUN) -m ruff check --fix

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || { \
	  echo "btbnet_jax needs Python 3.11.4 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed-%: pyproject.toml | $(VENV)/made
	$(RUN) -m pip install --quiet --editable '.[$*]'
	@touch $@
