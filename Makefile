# The commands of this repository. `make help` lists them; everything is installed into .venv/ and nowhere else.

VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/stamps
# Plain pip, so that the machine's own pip settings (mirror, certificates) hold. Every file is checked against its hash.
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --require-virtualenv
NO_PACKAGES = echo "skerry: pip could not install what the lock names (see above)." >&2; \
	echo "HINT: check the network, or the mirror in: $(BIN)/python -m pip config list; then run make again." >&2; exit 81;

TESTS  ?=
# Each file of tests runs in one process, so that its lab is made once; files run beside each other.
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
BENCH  ?=
FUZZ   ?= --seconds 600
CELLS  ?=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help tour test test-long check lint types floors bench crash-matrix protocol fuzz lock packages-tour packages-test clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tour: packages-tour $(STAMPS)/tour  ## install what is needed, then move one system to the cloud and roll another back
	@$(BIN)/skerry lab tour

test: packages-test $(STAMPS)/dev  ## install what is needed, then run the tests (TESTS=tests/unit runs some)
	@$(PYTEST) $(TESTS)

test-long: packages-test $(STAMPS)/dev  ## all tests, those too that take long
	@SKERRY_LONG=1 $(PYTEST) $(TESTS)

check: packages-test $(STAMPS)/dev lint types test  ## lint, types, then floors and all other tests

lint: $(STAMPS)/dev
	@$(BIN)/ruff check .

types: $(STAMPS)/dev
	@$(BIN)/mypy

floors: $(STAMPS)/dev  ## the architecture tests alone: floors, names, sizes
	@$(BIN)/python -m pytest -q tests/architecture

bench: packages-test $(STAMPS)/dev  ## measure and write benchmarks/results.json (BENCH=cli_start measures one)
	@$(BIN)/python -m benchmarks.run $(BENCH)

crash-matrix: packages-test $(STAMPS)/dev  ## break runs off at every boundary and print what came of each: simulated, then on hosts (SIMULATED=1, REAL=1: one of both; CELLS=cutover:drain: some; on hosts it goes on where it was left: ANEW=1 begins anew, LABS=4 at once, DOCUMENT=FILE writes it down)
	@$(BIN)/python -m tests.crash.matrix_table $(if $(REAL),--real) $(if $(SIMULATED),--simulated) $(if $(ANEW),--anew) \
		$(if $(LABS),--labs $(LABS)) $(if $(DOCUMENT),--document $(DOCUMENT)) $(CELLS)

protocol: packages-test  ## search the model of docs/protocol whole (MUTANTS=1: take each guard away in turn)
	@scripts/check_protocol $(if $(MUTANTS),--mutants)

fuzz: $(STAMPS)/fuzz  ## change inputs of the evidence's parsers (FUZZ="--seconds 3600", or with names of targets)
	@PYTHONPATH=$(VENV)/fuzz $(BIN)/python -m tests.fuzz.run $(FUZZ)

lock:  ## write requirements/*.lock anew from pyproject.toml (needs uv)
	@scripts/lock

clean:  ## remove the environment and what tools have cached
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

packages-tour:
	@scripts/system_packages tour

packages-test:
	@scripts/system_packages test

# A stamp, not .venv/bin/python: an environment whose making was cut off is made again.
$(STAMPS)/venv:
	@python=$$(scripts/find_python) && echo "skerry: making .venv with $$python" && "$$python" -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/tour: requirements/tour.lock pyproject.toml | $(STAMPS)/venv
	@echo "skerry: installing $$(grep -c == requirements/tour.lock) packages into .venv (once; a minute or so)"
	@$(PIP) --only-binary :all: --require-hashes -r requirements/tour.lock || { $(NO_PACKAGES) }
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

$(STAMPS)/dev: requirements/dev.lock $(STAMPS)/tour
	@echo "skerry: installing the tools of the tests into .venv (once)"
	@$(PIP) --only-binary :all: --require-hashes -r requirements/dev.lock || { $(NO_PACKAGES) }
	@touch $@

# Beside the environment, not in it: no test sees it. Without it, inputs are changed without guidance.
$(STAMPS)/fuzz: requirements/fuzz.lock $(STAMPS)/dev
	@$(PIP) --only-binary :all: --require-hashes --target $(VENV)/fuzz --upgrade -r requirements/fuzz.lock || \
		echo "skerry: no atheris for this Python; inputs are changed without its guidance" >&2
	@touch $@
