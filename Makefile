# Two commands matter: `make deploy` tries the product on the embedded sandbox, `make test` runs every test.
# RELEASE names the sandbox release to deploy (current, next, broken-login, …); LIMIT the environment.

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
LIMIT ?= staging
RELEASE ?= current
ARGS ?=
# Tests wait as much as they compute: twice as many workers as a small machine has cores.
WORKERS ?= 4
IN_PARALLEL = --numprocesses $(WORKERS) --dist loadgroup --no-loadscope-reorder
BY_DAY := -m "not nightly"

.DEFAULT_GOAL := help
.PHONY: help deploy rollback check format test quick deep lint style ansible-lint fast-unit unit integration molecule nightly bench collection changelog

help: ## Show the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | while IFS='|' read -r name text; do printf '  make %-18s %s\n' "$$name" "$$text"; done

$(VENV)/.deploy: requirements.txt requirements-sandbox.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed (Debian: apt-get install python3 python3-venv)." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-sandbox.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.deploy requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

deploy: $(VENV)/.deploy ## Deploy RELEASE to the staging sandbox, which comes up by itself
	@$(BIN)/ansible-playbook deploy.yml -l $(LIMIT) -e pap_sandbox_release=$(RELEASE) $(ARGS)

rollback: $(VENV)/.deploy ## Take the last release of the staging sandbox back
	@$(BIN)/ansible-playbook rollback.yml -l $(LIMIT) $(ARGS)

-include sandbox/sandbox.mk

check: $(VENV)/.dev ## Before each commit, in under two minutes: ruff, mypy, yamllint and the fast unit tests
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target style fast-unit

fast-unit: $(VENV)/.dev
	@PYTHONHASHSEED=0 $(BIN)/python -m pytest --quiet --numprocesses 2 $(BY_DAY) tests/unit $(ARGS)

format: $(VENV)/.dev ## Format the Python files, and mend what ruff can
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

test: quick deep ## Lint, unit, integration and molecule tests

quick: $(VENV)/.dev ## Lint and unit tests, side by side
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint unit

lint: style ansible-lint ## ansible-lint (production profile), yamllint, ruff, mypy (strict)

style: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --config-file tools/mypy.ini
	@$(BIN)/mypy --config-file tools/mypy-tests.ini
	@cd sandbox && ../$(BIN)/mypy --config-file ../tools/mypy.ini --exclude "^$$" app
	@$(BIN)/yamllint --strict .

ansible-lint: $(VENV)/.dev
	@PATH="$(CURDIR)/$(BIN):$$PATH" ANSIBLE_HOME="$(CURDIR)/.ansible" $(BIN)/ansible-lint --offline --profile production

unit: $(VENV)/.dev ## Tests without a database
	@$(BIN)/python -m pytest $(BY_DAY) tests/unit tests/contracts $(ARGS)

deep: $(VENV)/.dev ## Integration and molecule tests in one queue, so that nothing waits for the last of a stage
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest $(IN_PARALLEL) $(BY_DAY) tests/integration tests/scenarios $(ARGS)

integration: $(VENV)/.dev ## Tests on real PostgreSQL, and on Docker where an engine answers
	@$(BIN)/python -m pytest $(IN_PARALLEL) $(BY_DAY) tests/integration $(ARGS)

molecule: $(VENV)/.dev ## Whole deploys and whole failures
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest $(IN_PARALLEL) $(BY_DAY) tests/scenarios $(ARGS)

nightly: $(VENV)/.dev ## Long matrices, seeded walks, every version and whole deploys, which `make test` does in part
	@$(BIN)/python -m pytest $(IN_PARALLEL) tests/nightly $(ARGS)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest $(IN_PARALLEL) -m nightly tests/unit tests/integration tests/scenarios $(ARGS)
	@PAP_NIGHTLY=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest $(IN_PARALLEL) $(BY_DAY) tests/integration tests/scenarios/test_molecule.py $(ARGS)

collection: $(VENV)/.deploy ## Build the Ansible collection pap.deploy into .artifacts
	@$(BIN)/python tools/build_collection.py

changelog: $(VENV)/.dev ## Compile CHANGELOG.rst from the fragments
	@$(BIN)/antsibull-changelog release --update-existing --version "$$($(BIN)/python -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')"

bench: $(VENV)/.dev ## Measure, side by side with what people do by hand
	@for each in benchmarks/*.py; do echo "== $$each"; $(BIN)/python $$each || exit 1; done
