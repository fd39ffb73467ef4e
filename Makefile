# The two commands: `make demo` and `make test`. `make help` lists the others.
SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that is new enough; .python-version is obeyed by pyenv's and uv's shims.
PYTHON := $(shell for each in python3.13 python3.14 python3.12 python python3; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1 && { echo $$each; break; }; done)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock
BENCH_HOME := .bench/demo
NGFF := .bench/ngff/bin/python
NIIVUE := .bench/niivue/bin/python
ITKWIDGETS := .bench/itkwidgets/bin/python

.PHONY: help demo viewer lab test check bench soak interop lock format clean

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.12 or newer is needed and none was found: install it (Debian: apt install python3.13 python3.13-venv; anywhere: pyenv install 3.13), then run make again."; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# A stamp a group of dependencies, renewed when the project or the lock changes.
$(VENV)/installed-user: pyproject.toml requirements.lock | $(BIN)/python
	@echo "installing the workbench (a minute the first time)"
	@$(INSTALL) --editable '.[pacs,lab]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml requirements.lock | $(BIN)/python
	@echo "installing the workbench and what its tests need (a minute the first time)"
	@$(INSTALL) --editable '.[pacs,lab,dev]'
	@touch $@ $(VENV)/installed-user

demo: $(VENV)/installed-user ## the main job on sample data and an embedded PACS, with a receipt
	@$(BIN)/workbench demo --home $(BENCH_HOME)

viewer: $(VENV)/viewer ## the viewer of notebooks, built with Node.js

$(VENV)/viewer: $(VENV)/installed-user $(wildcard extensions/*.* extensions/src/* extensions/style/*)
	@sh extensions/build.sh $(VENV)
	@touch $@

lab: $(VENV)/viewer ## JupyterLab on the demo's bench
	@test -e $(BENCH_HOME)/catalog.sqlite || $(MAKE) --no-print-directory demo
	@$(BIN)/workbench lab --home $(BENCH_HOME)

test: check $(VENV)/viewer ## everything that must hold; installs what it needs
	@sh tests/install_system.sh
	@[ "$${CI:-}" != true ] || sh tests/install_trixie.sh
	@sh tests/cut_off.sh $(BIN)/python -m pytest --numprocesses=2 --dist=loadgroup $(PYTEST_ARGS)

check: $(VENV)/installed-dev ## lint, types, layers
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/installed-dev ## put the source in its one form
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(VENV)/installed-dev ## speed, as ratios to peers in the same run
	@sh tests/install_system.sh tests/benchmarks/system-packages.txt
	@$(INSTALL) --requirement tests/benchmarks/peers.txt
	@test -x $(NGFF) || { $(BIN)/python -m venv .bench/ngff && \
		$(NGFF) -m pip install --quiet --disable-pip-version-check 'ngff-zarr[cli]>=0.50'; }
	@test -x $(NIIVUE) || { $(BIN)/python -m venv .bench/niivue && \
		$(NIIVUE) -m pip install --quiet --disable-pip-version-check 'ipyniivue>=2.4' jupyterlab; }
	@NGFF_PYTHON=$(NGFF) NIIVUE_PYTHON=$(abspath $(NIIVUE)) $(BIN)/python tests/benchmarks/run.py

soak: $(VENV)/installed-dev ## the tests that take many minutes, which make test leaves out
	@sh tests/install_system.sh
	@sh tests/cut_off.sh $(BIN)/python -m pytest -m soak $(PYTEST_ARGS)

interop: $(VENV)/viewer $(VENV)/installed-dev ## ipyniivue and itkwidgets on a volume, each in an environment of its own
	@test -x $(NIIVUE) || { $(BIN)/python -m venv .bench/niivue && \
		$(NIIVUE) -m pip install --quiet --disable-pip-version-check 'ipyniivue>=2.4' jupyterlab; }
	@test -x $(ITKWIDGETS) || { $(BIN)/python -m venv .bench/itkwidgets && \
		$(ITKWIDGETS) -m pip install --quiet --disable-pip-version-check 'itkwidgets>=0.32.6,<1' xarray; }
	@NIIVUE_PYTHON=$(abspath $(NIIVUE)) ITKWIDGETS_PYTHON=$(abspath $(ITKWIDGETS)) \
		$(BIN)/python -m pytest -n 0 -m soak tests/ui/test_interop.py $(PYTEST_ARGS)

lock: $(VENV)/installed-dev ## renew requirements.lock from pyproject.toml
	@$(INSTALL) uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.12 --all-extras --upgrade \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links pyproject.toml --output-file requirements.lock

clean: ## what was made here
	@rm -rf $(VENV) extensions/node_modules extensions/lib extensions/built .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
