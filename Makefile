# Everything is installed into .venv, once, and again when pyproject.toml changes.
# Another Python:       make test PYTHON=python3.13 VENV=.venv313
# A part of the tests:  make test ARGS="tests/losses_test.py -k cross_entropy"
# A bundle to train in:  make bundle SHI=downloads BSDS500=downloads, see docs/btbnet_3s.md

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
SHI ?=
BSDS500 ?=
BUNDLE_PYTHON ?= 3.12
WHEELS := bundle/wheels
RUN := $(VENV)/bin/python

.PHONY: help demo test lint check format bundle bundle-inputs

help:
	@echo "make demo    generate data, train a network on them in minutes, evaluate it; maps of photographs (demo/)"
	@echo "make test    the tests"
	@echo "make check   formatter, linter, types and tests: all that has to pass"
	@echo "make format  lay the code out"
	@echo "make bundle  the training of btbnet-3s as one file for a machine with a GPU (docs/btbnet_3s.md)"

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

bundle-inputs:
	@test -d "$(SHI)" -a -d "$(BSDS500)" || { \
	  echo "make bundle wants the folders of Shi's and Berkeley's downloads: make bundle SHI=... BSDS500=..."; exit 1; }

bundle: bundle-inputs $(VENV)/installed-dev
	$(RUN) -m btbnet_jax data shi --manual-dir "$(SHI)"
	$(RUN) -m btbnet_jax data simulated --config photographs_on_the_fly --manual-dir "$(BSDS500)"
	rm -rf $(WHEELS)
	$(RUN) -m pip wheel --quiet --no-deps --wheel-dir $(WHEELS) promise  # which has no wheel on the index
	$(RUN) -m pip download --quiet --no-deps --only-binary=:all: --find-links $(WHEELS) --dest $(WHEELS) \
	  --python-version $(BUNDLE_PYTHON) --implementation cp \
	  $(addprefix --platform manylinux,_2_28_x86_64 _2_24_x86_64 _2_17_x86_64 2014_x86_64) \
	  --requirement configs/btbnet_3s_wheels.txt
	$(RUN) -m btbnet_jax bundle pack bundle/btbnet-3s.pyz --wheels $(WHEELS)

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || { \
	  echo "btbnet_jax needs Python 3.11.4 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed-%: pyproject.toml | $(VENV)/made
	$(RUN) -m pip install --quiet --editable '.[$*]'
	@touch $@
