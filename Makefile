# SPDX-License-Identifier: MIT
# `make` alone lists the targets. `make run ARGS="--port=9000"` and `make test ARGS="-k refresh"` pass ARGS on.
# PYTHON names another interpreter for .venv: `make run PYTHON=python3.12`.

# KIT=1 adds the tests of the kit's own documentation, files and defaults, which a site changes as it likes.
OURS := $(if $(KIT),, and not kit)
ANYWHERE := not (browser or npm or postgres or faults or fuzz)$(OURS)
QUICK := $(ANYWHERE) and not slow
# These make thousands of small databases: in memory, if programs can be run from there, no disk is waited for.
# And each of several processes would compile all tests anew, were the compiled ones not kept.
QUICKLY = PYTHONDONTWRITEBYTECODE= $(if $(shell findmnt -no OPTIONS /dev/shm 2>/dev/null | grep -vw noexec),PYTEST_DEBUG_TEMPROOT=/dev/shm)

.DEFAULT_GOAL := help
.PHONY: help run test check faults bench example format docs site wheel lock audit fuzz fresh clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-7s %s\n", $$1, $$2}' Makefile

run: ## set up what is missing and start the server for development
	@stormcellar/tools/setup kit
	@exec .venv/bin/python server.py --debug $(ARGS)

# What needs nothing but Python runs on every core, and what it covers is measured. Each of the processes after that has
# a PostgreSQL server of its own. Browsers mostly wait, so two go side by side; who kills and measures goes alone.
test: ## set up all that the tests need; style, types, every test, and how much they cover
	@stormcellar/tools/setup tests
ifeq ($(strip $(ARGS)),)
	.venv/bin/python -m ruff check
	.venv/bin/python -m ruff format --check
	.venv/bin/python -m mypy
	$(QUICKLY) .venv/bin/python -m pytest -q -n auto -m "$(ANYWHERE)" --cov --cov-report=term
	.venv/bin/python -m pytest -q -n auto -m "(postgres or npm or fuzz) and not (browser or faults)$(OURS)"
	.venv/bin/python -m pytest -q -n 2 --dist loadfile -m "browser and not faults$(OURS)"
	.venv/bin/python -m pytest -m "faults$(OURS)"
else
	@exec .venv/bin/python -m pytest $(ARGS)
endif

check: ## the quick loop: style, types, and the tests that need nothing but Python
	@stormcellar/tools/setup checks
	.venv/bin/python -m ruff check
	.venv/bin/python -m ruff format --check
	.venv/bin/python -m mypy
	$(QUICKLY) .venv/bin/python -m pytest -q -n auto -m "$(QUICK)" $(ARGS)

faults: ## only the tests that kill, cut and fill; ends with what is promised and what was measured
	@stormcellar/tools/setup tests
	@exec .venv/bin/python -m pytest -m faults $(ARGS)

bench: ## measure what a protected page costs, beside the alternatives (ARGS: --peers, --write)
	@stormcellar/tools/setup $(if $(findstring --peers,$(ARGS)),peers,bench)
	@exec .venv/bin/python stormcellar/benchmarks/run.py $(ARGS)

example: ## run one of the examples: make example NAME=plain_page
	@stormcellar/tools/setup examples
	@exec .venv/bin/python examples/run.py "$(NAME)" $(ARGS)

format: ## put the code into the house format
	@stormcellar/tools/setup checks
	.venv/bin/python -m ruff check --fix
	.venv/bin/python -m ruff format

# Through a second file, so that a failure leaves the page as it was.
docs: ## write docs/settings.md and docs/commands.md anew
	@stormcellar/tools/setup kit
	@mkdir -p docs
	.venv/bin/python -m stormcellar.settings > docs/settings.md.new
	mv docs/settings.md.new docs/settings.md
	.venv/bin/python -m stormcellar.commands.reference > docs/commands.md.new
	mv docs/commands.md.new docs/commands.md

site: ## copy the site to stormcellar/site, from which new sites are written
	@stormcellar/tools/copy-site

wheel: ## build the package stormcellar into dist/
	@stormcellar/tools/setup checks
	.venv/bin/python -m pip wheel -q --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build stormcellar.egg-info
	@ls dist

lock: ## pin every package with its hashes: each .lock from the .txt beside it
	@stormcellar/tools/setup tools
	@stormcellar/tools/lock $(ARGS)

audit: ## ask whether any pinned package has a known weakness
	@stormcellar/tools/setup tools
	@.venv-tools/bin/python stormcellar/tools/known_weaknesses.py

fuzz: ## let a coverage-guided fuzzer loose on the parsers of tokens, cookies and addresses
	@stormcellar/tools/setup fuzz
	@exec .venv-fuzz/bin/python stormcellar/tools/fuzz.py $(ARGS)

fresh: ## try both commands of the README on a bare Debian 12 and a bare Debian 13, which debootstrap makes (as root)
	@stormcellar/tools/fresh $(ARGS)

clean: ## remove what can be made again; var/ with its secrets and data stays
	rm -rf .venv .venv-interop .venv-patroni .venv-tools .venv-fuzz .venv-peers .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist stormcellar.egg-info stormcellar/tests/.artifacts */node_modules stormcellar/tests/npm/node_modules stormcellar/benchmarks/peers/node_modules examples/.build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
