# Two commands: `make demo` runs the main job on synthetic patients, `make test` checks the code. Both make the environment they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check audit env clean

demo: $(VENV)/.ready
	@# 3 means measured, but not everything: the table and the report say what failed
	$(BIN)/cardioval demo --out demo || [ $$? -eq 3 ]

test: check
	$(BIN)/python -m pytest

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m flows.dependency_audit

# known vulnerabilities of what constraints.txt pins; where no advisory service answers, it says so and goes on
audit: $(VENV)/.ready
	$(BIN)/python -m flows.dependency_audit

env: $(VENV)/.ready

# nnunetv2 draws in the argparse backport of 2009, which Prefect's server would import instead of Python's own: it goes again.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Python 3.11 or newer is needed, {sys.version.split()[0]} found; call make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip uninstall --disable-pip-version-check --quiet --yes argparse
	touch $@

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
