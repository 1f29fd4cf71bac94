# What a clone needs: `make demo` to see it work, `make test` and `make check` to change it.
# Everything is installed into .venv from the hashed requirements.lock; PYTHON=... picks the interpreter. What differs on
# Prefect 3.9 is tried in an environment of its own, .venv-3.9.

VENV := .venv
LOCK := requirements.lock
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 15))
ifndef PYTHON
# Each candidate is run, not just found: a version manager's shim exists without its interpreter.
PYTHON := $(shell for candidate in python3.11 python3.12 python3.13 python3.14 python3.10 python3 python; do \
	$$candidate -c '$(SUPPORTED)' 2>/dev/null && { echo $$candidate; break; }; done)
endif

# Without bytecode, every worker and every process that a test starts compiles what it imports.
unexport PYTHONDONTWRITEBYTECODE

# A narrowed run cannot reach the whole suite's coverage.
COVERAGE ?= $(if $(ARGS),0,90)

# Test files run side by side, in their order: those that start whole installations come early. Tests mostly wait for
# servers and workers, so two cores carry four of them.
WORKERS ?= 4
SIDE_BY_SIDE := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

NEXT := VENV=.venv-3.9 LOCK=requirements-3.9.lock
# What Prefect's next version can break: the steps as tasks, forms, serving, deployments, and a new user's first hour; not
# what is the plugin's own. It needs Python 3.11.
ON_NEXT := $(patsubst %,tests/flows/test_%.py,generate_video tasks serving run_form on_request) \
	tests/deployments/test_prefect_yaml.py tests/deployments/test_project.py tests/packaging/test_first_hour.py

.PHONY: help setup demo simulator test test-next test-slow browser check format docs dist lock clean
.DEFAULT_GOAL := help

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(INSTALLED) ## Install the plugin and its tools into .venv (quick when nothing changed)

demo: $(INSTALLED) ## Generate a video against the local simulator, from credentials to saved file
	$(BIN)/genvideo demo $(ARGS)

simulator: $(INSTALLED) ## Serve the providers' protocols locally
	$(BIN)/genvideo simulate $(ARGS)

test: $(INSTALLED) ## Run the tests with branch coverage; ARGS="-k ledger" narrows them
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) --cov --cov-report=term --cov-fail-under=$(COVERAGE) $(ARGS)

test-next: ## Run what Prefect 3.9 could break, on it
	$(MAKE) --no-print-directory $(NEXT) COVERAGE=0 test \
		ARGS="$(or $(ARGS),$(ON_NEXT) -m 'not browser') --no-cov"

check: $(INSTALLED) ## Formatting, lint and strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

test-slow: $(INSTALLED) ## Run the tests of whole installations, with workers and killed processes
	$(BIN)/python -m pytest -m slow $(ARGS)

browser: $(INSTALLED) ## Try Prefect's UI in Chromium; SCREENSHOTS=1 renews the README's pictures
	test -x /usr/bin/chromedriver || { apt-get update -qq && apt-get install -y -qq chromium chromium-driver fonts-noto-cjk; }
	$(PIP) install --quiet 'selenium>=4.20'
	$(BIN)/python -m pytest tests/browser -m browser

format: $(INSTALLED) ## Format, and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Dependency groups are known to pip since 25.1.
docs: $(INSTALLED) ## Build the documentation into site/
	@$(PIP) install --quiet 'pip>=25.1' && $(PIP) install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The wheel is tried where nothing else is, not even what it depends on.
dist: $(INSTALLED) ## Build wheel and source archive into dist/, check both and import the wheel
	rm -rf dist && $(BIN)/hatchling build -d dist
	@$(PIP) install --quiet --target $(VENV)/twine --upgrade 'twine>=6.1' # reads the metadata as the index does
	PYTHONPATH=$(VENV)/twine $(BIN)/python -m twine check --strict dist/*
	@tried=$$(mktemp -d); $(PIP) install --quiet --no-deps --no-index --target "$$tried" dist/*.whl \
		&& $(BIN)/python -I -S -c 'import sys; sys.path.insert(0, sys.argv[1]); import prefect_genvideo as p; print(p.__file__)' "$$tried"; \
		found=$$?; rm -rf "$$tried"; exit $$found

# Pins that still fit stay; UPGRADE=--upgrade takes the newest of everything. Without the machine's
# own settings, only files of the public index are hashed.
lock: $(INSTALLED) ## Pin and hash every dependency, with Prefect 3.8 for Python 3.10 to 3.14 and with 3.9 for 3.11 to 3.14
	$(PIP) install --quiet --target $(VENV)/lock --upgrade uv
	echo '-e .[media,simulator]' | $(VENV)/lock/bin/uv pip compile - --group dev --no-config --quiet \
		--universal --python-version 3.10 --generate-hashes --no-annotate --no-emit-package prefect-genvideo \
		--custom-compile-command 'make lock' $(UPGRADE) --output-file requirements.lock
	echo '-e .[media,simulator]' | $(VENV)/lock/bin/uv pip compile - --group dev --no-config --quiet \
		--universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-package prefect-genvideo \
		--override requirements-3.9.in --custom-compile-command 'make lock' $(UPGRADE) --output-file requirements-3.9.lock

clean: ## Remove everything that was installed, built or cached
	rm -rf $(VENV) .venv-3.9 dist site demo-output .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis
	find src tests flows blocks benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock is complete, so nothing is resolved; the project itself is linked, not copied.
$(INSTALLED): $(LOCK) pyproject.toml | $(BIN)/pip
	@echo "Installing into $(VENV) with $$($(BIN)/python --version); the first time takes a minute or two"
	@$(PIP) install --quiet --no-deps --require-hashes -r $(LOCK)
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# Debian splits `ensurepip` from Python; with pip alone, virtualenv does as well.
$(BIN)/pip:
	@$(or $(PYTHON),false) -c '$(SUPPORTED)' || { \
		echo "Python 3.10, 3.11, 3.12, 3.13 or 3.14 is needed; name one: make PYTHON=/path/to/python"; exit 1; }
	@rm -rf $(VENV); $(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); tools=$$(mktemp -d); \
		$(PYTHON) -m pip install --quiet --target "$$tools" virtualenv \
		&& PYTHONPATH="$$tools" $(PYTHON) -m virtualenv --quiet $(VENV); made=$$?; rm -rf "$$tools"; test $$made = 0; } || { \
		echo "$(PYTHON) has neither ensurepip nor pip: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
