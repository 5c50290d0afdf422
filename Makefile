# Tasks by name; `make` alone lists them. Works with GNU make 3.81 (macOS) and later.

VENV := .venv
PY := $(VENV)/bin/python

# The interpreter that creates .venv. By default the first of these that is Python 3.11, 3.12 or 3.13.
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# GPU=1 installs TensorFlow with CUDA instead of the CPU build; .venv keeps the choice until `make clean`.
GPU ?= $(if $(wildcard $(VENV)/.installed-gpu),1,0)
VARIANT := $(if $(filter 1,$(GPU)),gpu,cpu)
OTHER := $(if $(filter 1,$(GPU)),cpu,gpu)
REQUIREMENTS := $(if $(filter 1,$(GPU)),requirements-gpu.txt,requirements.txt)
INSTALLED := $(VENV)/.installed-$(VARIANT)
INSTALLED_DEV := $(VENV)/.installed-dev

# What `make bundle` exports, and where to.
RUN := imdb-han
OUT := bundles/$(notdir $(RUN))

# Number of test processes; each loads TensorFlow.
JOBS ?= 2

# To count the lines that run costs a tenth to two thirds of a test's time: only where it is asked for.
COVERAGE ?=

# Processes that `make test-faults` kills, and damaged inputs that it tries.
KILLS ?= 500
FUZZED ?= 10000

# pip shows its progress in a terminal only.
PIP_INSTALL = $(PY) -m pip install $$([ -t 1 ] || echo --quiet) --disable-pip-version-check --require-hashes
# uv needs a fifth of pip's time. It reads none of pip's settings: where pip was told of another index or a proxy, and where
# uv fails, pip installs.
UV_INSTALL = $(PY) -m uv pip install $$([ -t 1 ] || echo --quiet) --python $(PY) --require-hashes
install = if $(PY) -m pip config list | grep -Eq '\.(index-url|no-index|proxy)=' \
  || ! { $(PIP_INSTALL) -r requirements-install.txt && $(UV_INSTALL) -r $(1); }; then $(PIP_INSTALL) -r $(1); fi

# uv installs modules that are not compiled. Where this is set, as in many containers, each process would compile
# TensorFlow and Keras again: 9.7 s of processor time for their import, 3.7 s once they are compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo imdb view bundle gpu-check test test-slow test-faults mutants lint format bench accuracy lock clean

help: ## List the targets.
	@echo "Usage: make TARGET [NAME=value ...]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  SOURCE=FILE    imdb: use the archive in this file or at this address"
	@echo "  RUN=imdb-han   bundle: the run, by its folder or its name"
	@echo "  OUT=FOLDER     bundle: the folder to write"
	@echo "  ARGS='...'     imdb, view, bundle, test, test-slow, test-faults, mutants, bench, gpu-check, accuracy: further arguments, for example ARGS='-k resume'"
	@echo "  COVERAGE=1     test: list the lines that no test runs, too"
	@echo "  JOBS=2         test, test-slow, test-faults: number of test processes"
	@echo "  KILLS=500      test-faults: number of processes to kill"
	@echo "  FUZZED=10000   test-faults: number of damaged inputs to try"
	@echo "  UPGRADE=1      lock: use the newest versions that fit together"
	@echo "  GPU=1          install TensorFlow with CUDA (Linux on x86-64; about 3.4 GB)"
	@echo "  PYTHON=NAME    interpreter for .venv: Python 3.11, 3.12 or 3.13"

demo: $(INSTALLED) ## Run the whole pipeline on the built-in data set (two minutes, no network after installation).
	$(PY) run_all.py sample

imdb: $(INSTALLED) ## Run the whole pipeline on the 100,000 IMDB reviews, two classes.
	$(PY) run_all.py imdb True $(if $(SOURCE),--source "$(SOURCE)") $(ARGS)

view: $(INSTALLED) ## Show the newest run in the browser, or those in ARGS.
	$(PY) attention_viewer.py $(ARGS)

bundle: $(INSTALLED) ## Write a finished run as a folder that classifies without TensorFlow (bundles/imdb-han).
	$(PY) export.py "$(RUN)" "$(OUT)" $(ARGS)

test: $(INSTALLED_DEV) ## Run the tests, except those marked slow or faults.
	$(PY) -m pytest -n $(JOBS) --dist worksteal -m "not slow and not faults" -rs $(if $(COVERAGE),--cov --cov-report=term) $(ARGS)

# pytest exits with 5 when no test has the mark.
test-slow: $(INSTALLED_DEV) ## Run the tests marked slow.
	$(PY) -m pytest -n $(JOBS) --dist worksteal -m slow $(ARGS) || [ $$? -eq 5 ]

test-faults: $(INSTALLED_DEV) ## Kill stages at random, fill disks, feed damaged input (hours).
	KILLS=$(KILLS) FUZZED=$(FUZZED) $(PY) -m pytest -n $(JOBS) --dist worksteal -m faults -rs $(ARGS)

mutants: $(INSTALLED_DEV) ## Put faults into the code and count those that tests notice (hours; ARGS names modules).
	$(PY) tests/mutants.py $(ARGS)

lint: $(INSTALLED_DEV) ## Check style, formatting and types; change nothing.
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(INSTALLED_DEV) ## Format the code and fix what ruff can fix.
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

bench: $(INSTALLED) ## Run the benchmarks, on IMDB if it has been prepared, else on the built-in data set.
	@[ -e data/imdb/records/manifest.json ] || $(PY) run_all.py sample --until serialize_data
	$(PY) benchmarks/run.py $(ARGS)

gpu-check: $(INSTALLED) ## Check a GPU against the CPU and time it; prints a table for an issue (minutes).
	@$(PY) benchmarks/gpu_check.py $(ARGS)

accuracy: $(INSTALLED) ## Compare networks and linear classifiers on data sets named in ARGS (hours; resumes).
	$(PY) benchmarks/systems.py $(ARGS)

# In this order: the later ones are constrained to the versions of the earlier ones.
lock: $(INSTALLED_DEV) ## Write requirements*.txt from requirements*.in, with the hash of every file.
	@for name in requirements-install requirements requirements-gpu requirements-dev requirements-wandb requirements-ray; do \
	  echo "$$name.in -> $$name.txt"; \
	  $(PY) -m uv --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	    $(if $(UPGRADE),--upgrade) --output-file $$name.txt $$name.in || exit 1; \
	done

clean: ## Remove .venv and caches, but not data/ and runs/.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
	find . \( -path ./data -o -path ./runs -o -path ./.git \) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
	@echo "Removed .venv and caches. data/ and runs/ were not touched."

# An existing .venv is kept if it is complete and of the same kind; tensorflow and tensorflow-cpu cannot share one.
$(INSTALLED): $(REQUIREMENTS) requirements-install.txt
	@if [ -e $(VENV)/.installed-$(OTHER) ] || ! $(PY) -c '$(IN_RANGE)' 2>/dev/null || ! $(PY) -m pip --version >/dev/null 2>&1; then \
	  chosen=; \
	  for candidate in $(CANDIDATES); do \
	    if "$$candidate" -c '$(IN_RANGE)' 2>/dev/null; then chosen=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$chosen" ]; then \
	    first=$(firstword $(CANDIDATES)); \
	    found=$$("$$first" --version 2>&1) || found="not installed"; \
	    echo "error: $$first is $$found, but Python 3.11, 3.12 or 3.13 is needed; install one, then type: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	    exit 2; \
	  fi; \
	  if ! "$$chosen" -c 'import ensurepip, venv' 2>/dev/null; then \
	    version=$$("$$chosen" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "error: $$chosen cannot make virtual environments; on Debian or Ubuntu type: sudo apt install python$$version-venv" >&2; \
	    exit 2; \
	  fi; \
	  echo "Creating $(VENV) with $$("$$chosen" --version)."; \
	  "$$chosen" -m venv --clear $(VENV); \
	fi
	@echo "Installing $(REQUIREMENTS) into $(VENV); the first time this downloads $(if $(filter gpu,$(VARIANT)),about 3.4 GB,about 430 MB)."
	@$(call install,$(REQUIREMENTS))
	@touch $@

$(INSTALLED_DEV): $(INSTALLED) requirements-dev.txt
	@echo "Installing requirements-dev.txt into $(VENV)."
	@$(call install,requirements-dev.txt)
	@touch $@
