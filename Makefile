# The commands of this project. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
BIN := $(VENV)/bin
export UV_PYTHON_DOWNLOADS := never
# uv uses the system's certificates, which can include those of a company's proxy, instead of its own.
export UV_SYSTEM_CERTS := true
export PYTHONPATH := layers/launch_agent:.
# Without bytecode, each start of SAM and of the embedded AWS compiles thousands of modules. Some images turn it off.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Shows this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

# --- environments -------------------------------------------------------------------------------------------
# One virtual environment for each purpose, installed from a hashed lock, and again when the lock changes.

.PHONY: setup
setup: $(VENV)/.installed .venvs/cloud/.installed .venvs/lambda/.installed .venvs/sam/.installed .venvs/training/.installed .venvs/codebuild/.installed ## Installs all environments (the other commands do it as needed)

$(UV): requirements/uv.txt
	@echo "setup: creating $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.13")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python has no venv: on Debian, apt install python3-venv"; exit 1; }
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
lock: $(UV) ## Resolves requirements/*.in again; UPGRADE=1 takes the newest versions, and the newest base images
	@for source in layers/launch_agent/{requirements,service_models}.in layers/launch_agent/launch_agent/builder/notebook.in requirements/*.in; do \
		$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes $(if $(UPGRADE),--upgrade) \
			--custom-compile-command "make lock" "$$source" -o "$${source%.in}.txt" || exit 1; done
	@echo sagemaker-core | $(UV) pip compile -q --universal --python-version 3.11 --no-deps --generate-hashes \
		$(if $(UPGRADE),--upgrade) --custom-compile-command "make lock" - -o requirements/algorithm_images.txt
	@folder="$$(mktemp -d)"; $(UV) pip install -q -p $(BIN)/python --no-deps --require-hashes --target "$$folder" \
		-r requirements/algorithm_images.txt && $(BIN)/python requirements/algorithm_images.py "$$folder"; \
		status=$$?; rm -rf "$$folder"; exit $$status
	@$(if $(UPGRADE),$(BIN)/python -m local.pins)

# --- try it
.PHONY: local plan
local: setup ## Runs the demo on this machine: queues runs of images and of code, and shows how each ends
	@$(BIN)/python -m local demo $(ARGS)

plan: ## Checks a run without launching it: make plan SPEC=run_spec.json, or ARGS="--from-queue ITEM", ARGS="--job NAME --explain"
	@$(MAKE) -s --no-print-directory $(VENV)/.installed >&2
	@$(BIN)/python -m launch_agent.dry_run --config "$(or $(CONFIG),layers/config/launch-config.yaml)" $(ARGS) $(if $(SPEC),"$(SPEC)")

# --- work on it
# Tests of the embedded AWS often wait, so two more processes than processors are used.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 2)')

.PHONY: test check format bench golden release-set picture
test: setup ## Runs the tests, offline; ARGS="tests/unit -k macros" runs some
	@echo "test: units, golden cases, contracts, clients, the W&B server, the embedded AWS, and end to end"
	@$(BIN)/pytest -q $(if $(ARGS),$(ARGS),-n $(WORKERS) --dist loadgroup --no-loadscope-reorder)
	@$(if $(ARGS),,echo "test: make images and make browser test more, with buildah and Chromium (on Debian: apt install buildah uidmap chromium)")

# A container tool and Chromium come from the system, not from a package index. `make test` needs neither, and CI calls all three.
.PHONY: images browser screenshots
images: setup ## Tests jobs as code with real images, built with buildah, podman or a Docker engine
	@$(BIN)/pytest -q -m images tests/e2e/images $(ARGS)

browser: $(VENV)/.installed ## Tests the page of the local W&B server in Chromium
	@$(BIN)/pytest -q -m browser tests/browser $(ARGS)

screenshots: setup ## Takes the pictures in docs/images: of make local, and of the page and make watch with its runs, with Chromium
	@$(BIN)/python -m tests.browser.screenshots

check: $(VENV)/.installed .venvs/sam/.installed ## Checks format, lint, types, imports, words and templates
	@echo "check: format and lint"; $(BIN)/ruff format --check -q . && $(BIN)/ruff check -q .
	@echo "check: types"; $(BIN)/mypy
	@echo "check: imports"; $(BIN)/lint-imports --no-logo 2>&1 | tail -n 12; exit $${PIPESTATUS[0]}
	@echo "check: words"; $(BIN)/python -m tests.words
	@echo "check: template"; .venvs/sam/bin/cfn-lint template.yaml && $(SAM) validate --lint

.PHONY: audit vulnerabilities sbom licences
audit: .venvs/audit/.installed ## Checks the template with checkov, whose suppressions are in .checkov.yaml
	@.venvs/audit/bin/checkov --skip-download

vulnerabilities: .venvs/audit/.installed ## Looks for known vulnerabilities in the locked packages; needs PyPI's database
	@.venvs/audit/bin/pip-audit --strict --disable-pip --require-hashes -r layers/launch_agent/requirements.txt

sbom: .venvs/audit/.installed ## Writes sbom.json: the packages of the layer, from its lock, as CycloneDX
	@.venvs/audit/bin/cyclonedx-py requirements layers/launch_agent/requirements.txt --of JSON -o sbom.json

licences: $(VENV)/.installed ## Lists the licence of each package of the functions and builds; fails for one that is not allowed
	@$(BIN)/python -m tests.licences

.PHONY: faults soak prove-upgrade prove-iam mutants fuzz
faults: $(VENV)/.installed ## Lets every call fail in every way in a simulated world, one at a time, and lists how each run ends
	@$(BIN)/python -m tests.simulation $(ARGS)

soak: $(VENV)/.installed ## Sends N items through a simulated world full of faults: make soak N=10000 SEED=2
	@$(BIN)/python -m tests.simulation.soak --items $(or $(N),1000) --seed $(or $(SEED),1)

prove-upgrade: setup ## Upgrades version 0.1.0 to this one on the embedded AWS, with runs in every phase, and rolls back
	@$(BIN)/pytest -q -m long tests/e2e/test_upgrade.py

prove-iam: $(VENV)/.installed ## Takes each permission away from the functions in a simulated world, one at a time, and lists what nothing notices
	@$(BIN)/python -m tests.simulation.prove_iam

mutants: $(VENV)/.installed .venvs/mutants/.installed ## Breaks the package in N random places, one at a time, and lists what no test notices: make mutants N=60 SEED=1
	@.venvs/mutants/bin/python -m tests.mutants --number $(or $(N),20) --seed $(or $(SEED),1)

fuzz: $(VENV)/.installed ## Gives random input to every parser, and counts the results: make fuzz [ARGS="--examples 10000 --seed 2"]
	@$(BIN)/python -m tests.fuzz $(ARGS)

format: $(VENV)/.installed ## Formats the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: ## Measures this application next to wandb launch-agent, as lines of JSON: make bench [ARGS="--only cold-start --write"]
	@$(MAKE) -s --no-print-directory setup >&2
	@$(BIN)/python -m tests.bench $(ARGS)

golden: $(VENV)/.installed .venvs/training/.installed ## Writes the golden expectations again; review the diff
	@$(BIN)/python -m tests.golden.cases && $(BIN)/python -m tests.unit.test_dockerfile && $(BIN)/python -m tests.schemas

release-set: $(VENV)/.installed ## Writes what this version stores and sends into tests/upgrade; once for each release
	@$(BIN)/python -m tests.upgrade.release

picture: $(VENV)/.installed .venvs/sam/.installed ## Draws the pictures in the documents from the code, and lists the permissions in docs/iam.md
	@$(BIN)/python -m tests.pictures && $(BIN)/python -m tests.iam_document

.PHONY: hooks
hooks: $(VENV)/.installed ## Runs the quick checks before each commit
	@$(BIN)/pre-commit install

# --- deploy it
SAM := SAM_CLI_TELEMETRY=0 PATH="$(CURDIR)/$(BIN):$$PATH" .venvs/sam/bin/sam
STACK ?= wandb-launch

.PHONY: build deploy doctor queue watch verify logs destroy
build: $(VENV)/.installed .venvs/sam/.installed ## Builds the application: make build [CONFIG=launch-config.yaml]
	@$(BIN)/python -m operate build --config "$(abspath $(CONFIG))"

deploy: $(VENV)/.installed .venvs/sam/.installed ## Deploys a stack; asks questions the first time: make deploy [STACK=name] [CONFIG=launch-config.yaml]
	@$(BIN)/python -m operate deploy --stack "$(STACK)" --config "$(abspath $(CONFIG))"

doctor: $(VENV)/.installed ## Checks what a deployed stack needs: the key, queues, roles, buckets, quotas: make doctor [STACK=name]
	@$(BIN)/python -m operate doctor --stack "$(STACK)"

queue: $(VENV)/.installed ## Prints the configuration for the run queues; ARGS=--push creates those that do not exist in W&B
	@$(BIN)/python -m operate queue --stack "$(STACK)" $(ARGS)

watch: $(VENV)/.installed ## Shows the runs of a stack while they work: make watch [STACK=name]
	@$(BIN)/python -m operate watch --stack "$(STACK)"

verify: $(VENV)/.installed .venvs/training/.installed ## Tests a deployed stack with one small job, for a few cents: make verify [STACK=name] [ARGS="--queue name"]
	@$(BIN)/python -m operate verify --stack "$(STACK)" $(ARGS)

logs: $(VENV)/.installed ## Shows the logs of a run: make logs RUN=run-id [SINCE="2 days"] [ARGS=--raw]
	@$(BIN)/python -m operate logs --stack "$(STACK)" --run "$(RUN)" --since "$(or $(SINCE),1 hour)" $(ARGS)

destroy: $(VENV)/.installed .venvs/sam/.installed ## Deletes the stack; its tables, buckets and images stay
	@$(BIN)/python -m operate destroy --stack "$(STACK)" $(ARGS)
