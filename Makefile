# On a fresh Debian or Ubuntu with Python 3.11: `make demo`, then `make test`.
# Both create .venv and install the system libraries on first use.
#
#   PYTHON        the Python to build .venv with (default: the first of 3.11 to 3.13 that runs)
#   PIP_FLAGS     more options for pip install, for instance a different index for PyTorch
#   PYTEST_FLAGS  more options for pytest, for instance -k config
#   EXTRAS        extras to install, separated by commas (default: dev; pyproject.toml lists them)

ifndef PYTHON
PYTHON := $(shell for python in python3.11 python3.12 python3.13 python3; do \
	"$$python" -c "" 2>/dev/null && echo "$$python" && break; done)
endif
BIN := .venv/bin
EXTRAS ?= dev
READY := .venv/.ready-$(EXTRAS)

.PHONY: help demo test lint docs site weights clean system
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## segment the bundled sweep; labels and pictures go to demo_out/
	@rm -rf demo_out
	@$(BIN)/python tools/segment_scan.py demo/sequences/00/velodyne --out demo_out --png --maps
	@echo "Labels and pictures are in demo_out/:"
	@find demo_out -type f | LC_ALL=C sort | sed 's/^/  /'

test: $(READY) ## run the tests
	@$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: $(READY) ## check style, types and generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python scripts/config_docs.py --check

docs: ## build the documentation into site/
	@$(MAKE) --no-print-directory site EXTRAS=dev,docs

site: $(READY)
	@$(BIN)/mkdocs build --strict --quiet --clean
	@echo "open site/index.html"

weights: $(READY) ## train the shipped model into runs/shipped: make weights DATA=... LAYOUTS=...
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/train_shipped.sh "$(DATA)" "$(LAYOUTS)" runs/shipped

clean: ## remove .venv, demo_out, site and caches (never runs/)
	rm -rf .venv demo_out site build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find bev_instseg tools tests scripts -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt | system
	@echo "setting up .venv (about a minute)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	@$(BIN)/python -m pip install --disable-pip-version-check -q $(PIP_FLAGS) \
		-c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

system:
	@test -n "$(PYTHON)" || { echo "no Python found: install Python 3.11, or pass one with PYTHON=..."; exit 2; }
	@"$(PYTHON)" scripts/system_libs.py
