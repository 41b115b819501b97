# Every target makes .venv first, and again when pyproject.toml or constraints.txt has changed.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
# mypy does not follow the editable install's import hook: a link named like the package shows it the same files.
MYPY_LINK := $(VENV)/src/ebyd_scan

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow fuzz lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## scan a shipped backdoored and a shipped clean model, write reports to demo-reports/
	$(VENV)/bin/ebyd-scan demo --out demo-reports

# Two at a time, one thread each: most wait for one core. More cores: `make test WORKERS=8`.
WORKERS := 2
test: $(STAMP) ## the quick tests, WORKERS at a time
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m "not slow" -n $(WORKERS) --dist worksteal

test-slow: $(STAMP) ## the tests that train or scan for minutes
	$(VENV)/bin/python -m pytest -m slow

# `make fuzz INPUTS=100000` takes hours; the quick tests give every reader a hundred.
INPUTS := 10000
fuzz: $(STAMP) ## changed and random input for the readers of files, INPUTS of them each
	EBYD_FUZZ_INPUTS=$(INPUTS) $(VENV)/bin/python -m pytest tests/hostile/test_fuzz.py

lint: $(STAMP) ## ruff, formatting, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	MYPYPATH=$(VENV)/src $(VENV)/bin/mypy

clean: ## remove .venv, caches and build output
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache demo-reports
	find . -path ./.git -prune -o -type d -name __pycache__ -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[all,dev]"
	mkdir -p $(VENV)/src && ln -sfn ../.. $(MYPY_LINK)
	touch $@
