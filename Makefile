# On a fresh Debian or Ubuntu with Python 3.11: `make demo`, then `make test`.
# Both create .venv (two minutes, 2 GB) and install the system libraries on first use.
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

# Kernels, parsers, configuration, losses, one network: the tests that most changes break first.
QUICK := assemble boxes cluster config export formats grid ground heads imports labels \
	losses metrics models pretrained read_scan sensor_setup targets voxelize
QUICK_TESTS := $(wildcard $(QUICK:%=tests/test_%.py))

.PHONY: help demo test test-quick lint fuzz fuzzing soak docs site weights clean system
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## segment the bundled sweep; labels and pictures go to demo_out/
	@echo "segmenting demo/sequences/00/velodyne/000000.bin, then drawing it: half a minute"
	@rm -rf demo_out
	@$(BIN)/python tools/segment_scan.py demo/sequences/00/velodyne --out demo_out --png --maps
	@echo "Labels and pictures are in demo_out/:"
	@find demo_out -type f | LC_ALL=C sort | sed 's/^/  /'

test: $(READY) ## run the tests (10 to 20 minutes on two cores)
	@echo "running all tests: 10 to 20 minutes on two cores; make test-quick takes one"
	@echo "tests that need a GPU, a browser, an extra or missing data are skipped, with the reason"
	@$(BIN)/python -m pytest -rs $(PYTEST_FLAGS)

test-quick: $(READY) ## run a third of the tests in a minute: no training, pictures, commands or pages
	@$(BIN)/python -m pytest $(QUICK_TESTS) $(PYTEST_FLAGS)

lint: $(READY) ## check style, types and generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python scripts/config_docs.py --check

fuzz: ## feed damaged files to every parser for a minute (or FUZZ_FLAGS="--seconds 600")
	@$(MAKE) --no-print-directory fuzzing EXTRAS=dev,fuzz

fuzzing: $(READY)
	@$(BIN)/python scripts/fuzz.py $(FUZZ_FLAGS)

soak: $(READY) ## kill and repeat jobs for an hour or two (SOAK_FLAGS="--kills 10" for less)
	@$(BIN)/python scripts/soak.py $(SOAK_FLAGS)

docs: ## build the documentation into site/
	@$(MAKE) --no-print-directory site EXTRAS=dev,docs

site: $(READY)
	@$(BIN)/mkdocs build --strict --quiet --clean
	@echo "open site/index.html"

weights: $(READY) ## train the package's weights into runs/shipped: make weights DATA=...
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/train_shipped.sh "$(DATA)" runs/shipped

clean: ## remove .venv, demo_out, site and caches (never runs/)
	rm -rf .venv demo_out site build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find bev_instseg tools tests scripts -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt requirements.lock | system
	@"$(PYTHON)" scripts/install.py $(EXTRAS) $(PIP_FLAGS)
	@touch $@

system:
	@test -n "$(PYTHON)" || { echo "no Python found: install Python 3.11, or pass one with PYTHON=..."; exit 2; }
	@"$(PYTHON)" scripts/system_libs.py
