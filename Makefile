# One entry point: people and CI call these targets and nothing else.
SHELL := bash
# A pipe fails with its first command, and not only with its last.
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
# A process a core and one more, of some 400 MB each; one that has no more to do takes tests from another.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help serve test test-portable lint type fmt bench drill soak fuzz lock audit sbom clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(VENV)/.base: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --editable .
	@touch $@

# torch by its exact version first: a range would take the newest build and its gigabytes of CUDA libraries.
$(VENV)/.dev: $(VENV)/.base
	$(PIP) install torch==2.13.0
	$(PIP) install --editable '.[training,dev]'
	# Independent detectors to compare with; alone, since what it asks for would bring another torch.
	$(PIP) install --no-deps pytorch-ood==0.4.0
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev
	$(PIP) install --editable '.[fuzz]'
	@touch $@

$(VENV)/.supply: $(VENV)/.base
	$(PIP) install --editable '.[supply]'
	@touch $@

serve: $(VENV)/.base ## Serve the shipped model on http://127.0.0.1:8000
	$(BIN)/python -m service

test: $(VENV)/.dev ## Run the tests
	$(PYTEST)

test-portable: $(VENV)/.dev ## Run the tests of numbers once more, with the instructions of an old processor
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Nehalem $(PYTEST) -m numeric

lint: $(VENV)/.dev ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(VENV)/.dev ## Check types
	$(BIN)/mypy

fmt: $(VENV)/.dev ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## Compare the service with a plain loop and with what is possible without HTTP
	$(BIN)/python -m tests.benchmarks.peers --quick

drill: $(VENV)/.dev ## Live through a day in miniature: make drill OWN=DIR FOREIGN=DIR (pictures of the classes, and others)
	$(BIN)/python -m tests.e2e.drill --own $(OWN) --foreign $(FOREIGN)

soak: $(VENV)/.dev ## Mixed traffic, faults and swaps, every answer checked: make soak SECONDS=1800 SEED=1
	$(BIN)/python -m tests.e2e.soak --seconds $(or $(SECONDS),120) --seed $(or $(SEED),1)

fuzz: $(VENV)/.fuzz ## Look for inputs that break a reader's promise: make fuzz TARGET=decoder SECONDS=600
	$(BIN)/python -m tests.fuzz $(or $(TARGET),decoder) --seconds $(or $(SECONDS),60) --keep

# For every system and every Python that the project runs on: the markers in a lock choose. Wheels alone, since building
# a source package would run its code. Each lock but the first keeps to what the first has chosen. `otel` is in every
# image, so that traces are turned on by a variable alone.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --only-binary :all: --generate-hashes \
	--custom-compile-command 'make lock'
lock: $(VENV)/.supply ## Pin what the image is made of, at its newest, with hashes
	$(LOCK) --upgrade pyproject.toml --extra calibrate --extra otel -o deploy/locks/calibrate.txt
	$(LOCK) --upgrade pyproject.toml --extra calibrate --extra otel --extra cuda -c deploy/locks/calibrate.txt -o deploy/locks/calibrate-cuda.txt
	$(LOCK) pyproject.toml --extra calibrate --extra otel --extra bulk -c deploy/locks/calibrate.txt -o deploy/locks/calibrate-bulk.txt
	$(LOCK) pyproject.toml --extra calibrate --extra otel --extra bulk --extra cuda -c deploy/locks/calibrate-cuda.txt -o deploy/locks/calibrate-bulk-cuda.txt
	$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'], sep='\n')" \
	  | $(LOCK) --upgrade - -o deploy/locks/build.txt

# The longest lock has the packages of the others. Strict: what the advisories cannot be asked about is a failure, and so
# is a service that does not answer.
audit: $(VENV)/.supply ## Ask the advisory service whether a pinned package is known to be vulnerable
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off \
	  --requirement deploy/locks/calibrate-bulk-cuda.txt --requirement deploy/locks/build.txt

# The lock has every system's packages; those of the image, which is Linux with Python 3.11, are in the list.
SBOM_LOCK ?= calibrate
sbom: $(VENV)/.supply ## List what the image is made of, as CycloneDX: sbom.cdx.json (SBOM_LOCK=calibrate-cuda for the GPU's)
	$(BIN)/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes \
	  --no-header --no-annotate deploy/locks/$(SBOM_LOCK).txt \
	  | $(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file sbom.cdx.json -

clean: ## Remove the environment and caches
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
