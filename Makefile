# Every target sets up what it needs. `make PYTHON=/path/to/python <target>` uses an environment of your own (conda, say).
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
STAMP := $(VENV)/.installed
ifeq ($(origin PYTHON),undefined)
PYTHON := $(VENV)/bin/python
SETUP := $(STAMP)
endif
BIN := $(dir $(PYTHON))

.PHONY: help setup demo test lint types unit fuzz benchmarks fixtures clean

help:  ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt scripts/setup.sh
	@bash scripts/setup.sh $(VENV)
	@touch $@

setup: $(SETUP)  ## Make the virtual environment

demo: $(SETUP)  ## Encode, decode, compare and draw a fire; results in demo/
	@PATH="$(BIN):$$PATH" bash scripts/demo.sh

test: lint types unit  ## Run the linter, the type checker and all tests

lint: $(SETUP)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: $(SETUP)
	$(PYTHON) -m mypy

# One thread a worker: torch's own threads would only fight over the cores that the workers fill.
unit: $(SETUP)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n auto --maxprocesses 8 --dist worksteal

fuzz: $(SETUP)  ## Try a million hostile files on the readers: about ten minutes
	OMP_NUM_THREADS=1 $(PYTHON) -m fuzz run --target head --cases 1000000
	OMP_NUM_THREADS=1 $(PYTHON) -m fuzz run --target decode --cases 10000
	OMP_NUM_THREADS=1 $(PYTHON) -m fuzz run --target vdb --cases 10000

fixtures: $(SETUP)  ## Make the .vdb files of fixtures/ anew
	$(PYTHON) -m fixtures.make_fire
	$(PYTHON) -m fixtures.make_shapes

benchmarks: $(SETUP)  ## List the benchmark commands
	@echo "$(PYTHON) benchmarks/rate_distortion.py [FILE.vdb ...]  # bytes over quality against SZ3, SPERR and ZFP"
	@echo "$(PYTHON) benchmarks/corpus.py [FILE.vdb ...]    # size, quality and time on real volumes"
	@echo "$(PYTHON) benchmarks/time_to_quality.py [FILE.vdb]  # PSNR over seconds of training, by recipe"
	@echo "$(PYTHON) benchmarks/decode.py [FILE.vdb ...]    # voxels decoded a second"
	@echo "$(PYTHON) benchmarks/scaling.py [FILE.vdb]       # processes against throughput of training"
	@echo "$(PYTHON) benchmarks/dilation.py [FILE.vdb]      # which voxels to train on: the paper's Table 2"
	@echo "$(PYTHON) benchmarks/memory.py                   # peak memory of a 4096^3 box with 5 M active voxels"
	@echo "$(PYTHON) benchmarks/lossless.py [FILE.vdb ...]  # what becomes of every grid of every file"
	@echo "$(PYTHON) benchmarks/exact.py                    # exact storage against zstd, Blosc2 and NanoVDB"
	@echo "$(PYTHON) benchmarks/empty_air.py                # zeros and sums of dense frames"
	@echo "$(PYTHON) benchmarks/masks.py                    # bytes and speed of topology"
	@echo "$(PYTHON) benchmarks/kills.py                    # 200 kills while encoding"
	@echo "$(PYTHON) benchmarks/busy.py [FILE.vdb]          # the same encode alone and beside busy processes"

clean:  ## Remove the virtual environment, the demo and all caches
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +
