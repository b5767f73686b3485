# Every target makes what it needs first; what is already there costs nothing.
#   make test ARGS='-k ledger -x'    hands ARGS to pytest
#   make storm SECONDS=60            lets the storm over the ledger rage for a minute instead of ten
#   make soak SECONDS=60 AGENTS=100 ARGS='--seed 7'    a shorter soak, with the chances of an earlier one
#   make setup PYTHON=python3.13     makes the environment, when there is none, with this Python instead of the newest

OPENCODE_VERSION := 1.18.33
INSPECTOR_VERSION := 2.12.0

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LINKED := $(VENV)/.opencode-$(OPENCODE_VERSION)
INSPECTOR := .tools/inspector/.installed-$(INSPECTOR_VERSION)
CODE := src tests benchmark examples
ARGS ?=
SECONDS := 600
AGENTS := 300

# Which OpenCode the demo and the tests run: the one setup found, unless the caller names another.
ASKED_OPENCODE := $(MESHFLEET_OPENCODE)
MESHFLEET_OPENCODE ?= $(CURDIR)/$(BIN)/opencode
# a path may hold a quote
quoted = '$(subst ','\'',$(1))'
RUN := MESHFLEET_OPENCODE=$(call quoted,$(MESHFLEET_OPENCODE)) $(BIN)

# Hundreds of processes are started by the tests: none is to compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format docs bench storm soak clean FORCE

help:
	@echo 'make setup   a virtual environment in $(VENV), OpenCode when it is not on PATH, the MCP Inspector for tests'
	@echo 'make demo    three real OpenCode processes hand work to each other'
	@echo 'make test    all tests, those with the real OpenCode included'
	@echo 'make lint    style, types, and which floor may import which'
	@echo 'make format  rewrite the code in the style that lint wants'
	@echo 'make bench   measure everything, and write docs/benchmarks.md (ARGS=--quick: only see that it runs)'
	@echo 'make docs    docs/tools.md, the help in docs/cli.md and the words a client is greeted with'
	@echo 'make storm   kill processes at random for ten minutes (SECONDS=600), and say what the ledger lost by it'
	@echo 'make soak    let 300 agents misbehave (AGENTS=300) while servers are killed, and say whether any was lost'
	@echo 'make clean   remove whatever these targets made'

setup: $(INSTALLED) $(LINKED) $(INSPECTOR)

# Only the tests need the Inspector, which is large.
demo: $(INSTALLED) $(LINKED)
	$(RUN)/meshfleet demo $(ARGS)

# Five workers for two cores: tests that drive the real OpenCode (7 to 11 s of processor each) share one and run one
# after the other, the others leave no core idle while one waits (tests/scheduling.py), and one summary closes the run.
test: setup
	$(RUN)/python -m pytest -n 5 $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(CODE)
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED)
	$(BIN)/python -m meshfleet.server.prepare
	$(BIN)/python -m meshfleet.server.reference docs/tools.md
	$(BIN)/python -m meshfleet.cli.reference docs/cli.md

# Agents are stand-ins that sleep: no OpenCode is needed.
bench: $(INSTALLED)
	$(BIN)/python -m benchmark $(ARGS)

storm: $(INSTALLED)
	$(BIN)/python -m benchmark.storm --seconds $(SECONDS) $(ARGS)

# Servers are killed for so long; what runs then has to come to its end.
soak: SECONDS := 120
soak: $(INSTALLED)
	$(BIN)/python -m benchmark.soak --agents $(AGENTS) --seconds $(SECONDS) $(ARGS)

clean:
	rm -rf $(VENV) .tools .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist snapshot_report.html

# Made again when its Python is gone, or when the folder was moved or copied: an environment holds absolute paths.
ifneq ($(shell test -x $(BIN)/python && cat $(INSTALLED) 2>/dev/null),$(CURDIR))
$(INSTALLED): FORCE
endif
$(INSTALLED): pyproject.toml constraints.txt scripts/setup-venv scripts/find-python
	@scripts/setup-venv $(VENV) $(INSTALLED)

# The link may lead nowhere although it was made: somebody moved or removed the OpenCode behind it.
ifneq ($(shell test -x $(BIN)/opencode && echo stands),stands)
$(LINKED): FORCE
endif
$(LINKED): scripts/setup-opencode $(INSTALLED)
	@MESHFLEET_OPENCODE=$(call quoted,$(ASKED_OPENCODE)) scripts/setup-opencode $(VENV) $(OPENCODE_VERSION)
	@touch $@

$(INSPECTOR): scripts/setup-inspector
	@scripts/setup-inspector $(INSPECTOR_VERSION)
	@touch $@

FORCE:
