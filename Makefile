# One entry point: people and CI call these targets and nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
# A process a core and one more, of some 400 MB each; one that has no more to do takes tests from another.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help serve test test-portable lint type fmt bench drill clean

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

bench: $(VENV)/.dev ## Measure requests per second with and without HTTP
	$(BIN)/python -m tests.benchmarks.throughput

drill: $(VENV)/.dev ## Live through a day in miniature: make drill OWN=DIR FOREIGN=DIR (pictures of the classes, and others)
	$(BIN)/python -m tests.e2e.drill --own $(OWN) --foreign $(FOREIGN)

clean: ## Remove the environment and caches
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
