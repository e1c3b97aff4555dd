# The verbs of this project. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
BIN := $(VENV)/bin
export UV_PYTHON_DOWNLOADS := never
export PYTHONPATH := layers/launch_agent:.

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# --- environments -------------------------------------------------------------------------------------------
# One virtual environment per purpose, each installed from a hashed lock and again only when that lock changes.

.PHONY: setup
setup: $(VENV)/.installed .venvs/cloud/.installed .venvs/lambda/.installed .venvs/sam/.installed .venvs/training/.installed ## Install everything (done by the other verbs as needed)

$(UV): requirements/uv.txt
	@echo "setup: creating $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.13")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $(UV)

$(VENV)/.installed: requirements/dev.txt $(UV)
	@echo "setup: installing the development environment into $(VENV)"
	@$(UV) pip install -q -p $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

.venvs/%/.installed: requirements/%.txt $(UV)
	@echo "setup: installing the $* environment into .venvs/$*"
	@$(UV) venv -q --allow-existing -p $(BIN)/python .venvs/$*
	@$(UV) pip install -q -p .venvs/$*/bin/python --require-hashes -r requirements/$*.txt
	@touch $@

.PHONY: lock
lock: $(UV) ## Resolve requirements/*.in anew (UPGRADE=1 takes newer versions)
	@for source in layers/launch_agent/requirements.in requirements/*.in; do \
		$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes $(if $(UPGRADE),--upgrade) \
			--custom-compile-command "make lock" "$$source" -o "$${source%.in}.txt" || exit 1; done
