# All commands for this repository; `make help` lists them. Each target installs what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := $(VENV)/.packages
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready
# Else each of the many processes of the tests compiles every module anew.
unexport PYTHONDONTWRITEBYTECODE
# Else gRPC sometimes tells of its own connections on stderr, as when the playground's Pub/Sub stops.
export GRPC_VERBOSITY := ERROR

ifneq ($(words $(VENV)),1)
$(error VENV must be a path without blanks, such as .venv, which is in this folder)
endif

.PHONY: help setup demo playground try test test-long lint serve lock clean

help:  ## show this list
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / {printf "%-12s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## create .venv, everything pinned by hash; does nothing if it is up to date

$(PACKAGES): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11")'
	@echo "Installing the pinned packages into $(VENV), once: about half a minute ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.txt
	@touch $@

$(INSTALLED): requirements-dev.txt pyproject.toml | $(PACKAGES)
	@echo "Installing the tools for development into $(VENV), once ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --no-build-isolation --editable .
	@touch $@

$(READY): $(INSTALLED)
	@$(BIN)/python -m pytest --collect-only --quiet > $@.log || { cat $@.log; exit 1; }  # compiles them once, for all processes
	@mv $@.log $@

demo: $(PACKAGES)  ## run a shop's day on this machine; OPTIONS=--to-segment sends to a real source
	@$(BIN)/python -m playground.demo $(OPTIONS)

playground: $(PACKAGES)  ## the whole path, alive, on one page in a browser; OPTIONS=--port=9000
	@exec $(BIN)/python -m playground.page $(OPTIONS)

try: $(INSTALLED)  ## all parties on this machine until Ctrl-C, to try curl and the command; OPTIONS=--port=9000
	@exec $(BIN)/python -m playground.by_hand $(OPTIONS)

test: setup  ## all tests; four processes, since many tests wait for other processes
	$(BIN)/python -m pytest -n 4 --dist worksteal

test-long: setup  ## run the tests that take minutes, and those of random input with twenty times as many examples
	$(BIN)/python -m pytest -m long
	$(BIN)/python -m pytest -m "hypothesis and not long" --hypothesis-profile=thorough

lint: $(INSTALLED)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: test-page bench-page
CHROMIUM ?= /usr/bin/chromium
PAGE_READY := $(VENV)/.page
export CHROMIUM SCREENSHOTS
test-page: $(PAGE_READY)  ## some minutes: test the playground's page in Chromium; SCREENSHOTS=docs/images writes its pictures
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/page

bench-page: $(PAGE_READY)  ## a minute: how soon the page is there, and what it costs at 200 changes a second
	@$(BIN)/python -m bench.page

$(PAGE_READY): tests/page/requirements.txt $(READY) | $(CHROMIUM)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(CHROMIUM):
	@echo "There is no $@: run apt-get install chromium, or name another one with CHROMIUM=." >&2; exit 1

.PHONY: chaos
chaos: setup  ## some minutes: check the promises while everything fails; SEED and CHANGES select the run
	@$(BIN)/python -m tests.emulation.chaos --seed $(or $(SEED),1) --changes $(or $(CHANGES),20000)

.PHONY: instances
instances: setup  ## some minutes: three instances and a backfill, Segment up to 8 s late; SEED selects the run
	@$(BIN)/python -m tests.emulation.instances --seed $(or $(SEED),1)

.PHONY: fuzz
fuzz: setup  ## random input for decoding, for SECONDS (60)
	@$(BIN)/python -m pip install --quiet --require-hashes -r tests/fuzz/requirements.txt
	@$(BIN)/python -m tests.fuzz.fuzz_decode -max_total_time=$(or $(SECONDS),60) -print_final_stats=1

.PHONY: load
load: setup  ## two minutes: steady pushes at 70 % of the maximum; no failure, and memory stays flat
	@$(BIN)/python -m bench.steady

.PHONY: bench
bench: setup  ## measure the cost of one message: bench/results.md
	@$(BIN)/python -m bench

.PHONY: check-infra check-image
check-infra: setup  ## check image, build, Terraform and documented commands, with the installed tools
	@scripts/check-infra

check-image: setup  ## build, run and stop the image; CONTAINER_ENGINE selects the tool
	@$(BIN)/python scripts/check-image

serve: $(PACKAGES)  ## run the service in the foreground, configured by the environment
	@exec $(BIN)/gunicorn --config python:service.serving.gunicorn_conf

.PHONY: docs
docs: $(VENV)-docs/.ready  ## build the documentation as a website into site/, and check its links
	@NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/python -m mkdocs build --strict

$(VENV)-docs/.ready: docs/requirements.txt
	@$(PYTHON) -m venv $(VENV)-docs
	@$(VENV)-docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

lock: setup  ## update the pinned requirements from pyproject.toml
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet uv
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra expr pyproject.toml -o requirements.txt
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra dev --extra expr -c requirements.txt pyproject.toml -o requirements-dev.txt
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group fuzz -o tests/fuzz/requirements.txt
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group docs -o docs/requirements.txt
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group page -c requirements-dev.txt -o tests/page/requirements.txt

clean:  ## remove what the targets above have made
	rm -rf .venv .venv-* build site *.egg-info
