# Every target sets up what it needs. `make PYTHON=/path/to/python TARGET` uses an environment of your own.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
STAMP := $(VENV)/.installed
ifeq ($(origin PYTHON),undefined)
PYTHON := $(VENV)/bin/python
SETUP := $(STAMP)
endif
BIN := $(dir $(PYTHON))

.PHONY: help setup core wasm viewer demo test checks lint types unit fuzz benchmarks fixtures blender wheelhouse clean

help:  ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml setup.py constraints.txt scripts/setup.sh
	@bash scripts/setup.sh $(VENV)
	@touch $@

setup: $(SETUP)  ## Make the virtual environment

core: $(SETUP)  ## Compile the C core, where it has changed
	@$(PYTHON) scripts/build_core.py $(STRICT)

wasm: $(SETUP)  ## Compile the C core to WebAssembly: build/inrv-*.wasm
	@$(PYTHON) scripts/build_core.py $(STRICT) --wasm

viewer: core  ## Build the page of inrv view, and the npm package: needs Node.js 20 or later
	@$(PYTHON) scripts/build_viewer.py

# Warnings of the C compiler are errors where the project is tested, and nowhere else.
checks unit fuzz: STRICT := --strict

demo: core  ## Encode, decode, compare, draw and show a fire; the results are in demo/
	@! command -v npm >/dev/null || $(PYTHON) scripts/build_viewer.py
	@PATH="$(BIN):$$PATH" bash scripts/demo.sh

test: checks unit  ## Run the linter, the type checker and all tests

# The type checker has one thread, so that the core is compiled beside it; the tests want all cores.
checks: $(SETUP)
	@$(MAKE) --no-print-directory --keep-going -j 2 lint types core STRICT=$(STRICT)

lint: $(SETUP)  ## Run the linter, and check the layout of the code
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: $(SETUP)  ## Check the types
	$(PYTHON) -m mypy

# Each worker has one thread: the workers fill the cores already.
unit: core  ## Run all tests, on all cores
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n auto --maxprocesses 8 --dist worksteal

fuzz: core  ## Try a million hostile files on the readers: about ten minutes
	OMP_NUM_THREADS=1 $(PYTHON) -m fuzz run --target head --cases 1000000
	OMP_NUM_THREADS=1 $(PYTHON) -m fuzz run --target decode --cases 10000
	OMP_NUM_THREADS=1 $(PYTHON) -m fuzz run --target vdb --cases 10000
	OMP_NUM_THREADS=1 $(PYTHON) -m fuzz run --target nvdb --cases 10000
	$(PYTHON) -m fuzz core --target region --cases 1000000
	$(PYTHON) -m fuzz core --target masks --cases 100000
	$(PYTHON) -m fuzz core --target file --cases 100000
	$(PYTHON) -m fuzz core --target sequence --cases 100000

fixtures: core  ## Make the .vdb files of fixtures/ again
	$(PYTHON) -m fixtures.make_fire
	$(PYTHON) -m fixtures.make_shapes

blender: $(SETUP)  ## Build the Blender extension, a zip for each platform: dist/
	$(PYTHON) scripts/build_blender.py

# What a machine with torch, NumPy and a C compiler, but without a network, needs for the program and its tests.
OFFLINE := setuptools safetensors zstandard numcodecs typing_extensions click fileseq rich markdown-it-py mdurl pygments \
	threadpoolctl pytest pytest-xdist execnet iniconfig packaging pluggy hypothesis sortedcontainers
WHEEL_PYTHON := 3.12

wheelhouse: $(SETUP)  ## Download what a machine without a network lacks: pip install --no-index -f wheelhouse -e .
	$(PYTHON) -m pip download -q --no-deps --only-binary=:all: -c constraints.txt -d wheelhouse \
		--python-version $(WHEEL_PYTHON) --implementation cp --platform manylinux_2_28_x86_64 \
		--platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 $(OFFLINE)

benchmarks: core  ## List the benchmark commands
	@echo "$(PYTHON) -m benchmarks.rate_distortion [PATH ...]     # bytes over quality, against other codecs"
	@echo "$(PYTHON) -m benchmarks.corpus [FILE.vdb ...]          # size, quality and time of whole files"
	@echo "$(PYTHON) -m benchmarks.efforts [FILE.vdb ...]         # bytes and seconds of each effort"
	@echo "$(PYTHON) -m benchmarks.sequences [FOLDER ...]         # sequences against single files"
	@echo "$(PYTHON) -m benchmarks.slow_smoke FOLDER              # makes a slow sequence for it"
	@echo "$(PYTHON) -m benchmarks.sequence_limits                # kills and memory of sequences"
	@echo "$(PYTHON) -m benchmarks.sequences_video [FOLDER ...]   # sequences beside a video coder"
	@echo "$(PYTHON) -m benchmarks.exact [FILE.vdb ...]           # exact storage against zstd, Blosc2 and NanoVDB"
	@echo "$(PYTHON) -m benchmarks.nanovdb [FILE.vdb ...]         # bytes of .nvdb files, with Warp as their referee"
	@echo "$(PYTHON) -m benchmarks.empty_air [FILE.vdb ...]       # zeros and sums of dense frames"
	@echo "$(PYTHON) -m benchmarks.masks [FILE.vdb ...]           # bytes and speed of topology"
	@echo "$(PYTHON) -m benchmarks.lossless [FILE.vdb ...]        # what becomes of every grid of every file"
	@echo "$(PYTHON) -m benchmarks.speed [FILE.vdb ...]           # encoding, decoding, boxes and points, beside SZ3 and SPERR"
	@echo "$(PYTHON) -m benchmarks.decode [FILE.vdb ...]          # voxels decoded a second"
	@echo "$(PYTHON) -m benchmarks.zarr_arrays [FILE.vdb]         # arrays of zarr, beside other codecs"
	@echo "$(PYTHON) -m benchmarks.install_cost [EXTRA ...]       # what an installation takes, with each extra"
	@echo "$(PYTHON) -m benchmarks.memory                         # peak memory of a sparse box of 4096^3 voxels"
	@echo "$(PYTHON) -m benchmarks.viewer [FILE.vdb ...]          # inrv view: seconds to its pictures, and sizes"
	@echo "$(PYTHON) -m benchmarks.large_images                   # peak memory of an image of 2.1 GB, in blocks"
	@echo "$(PYTHON) -m benchmarks.in_situ                        # a solver that writes while it runs"
	@echo "$(PYTHON) -m benchmarks.time_to_quality [FILE.vdb]     # fourier: PSNR over seconds of training"
	@echo "$(PYTHON) -m benchmarks.dilation [FILE.vdb]            # fourier: which voxels to train on, the paper's Table 2"
	@echo "$(PYTHON) -m benchmarks.scaling [FILE.vdb]             # fourier: throughput of training over processes"
	@echo "$(PYTHON) -m benchmarks.gpu [FILE.vdb]                 # all figures of a GPU, in parts"
	@echo "$(PYTHON) -m benchmarks.blender                        # pictures and times in Blender; needs bpy"
	@echo "$(PYTHON) -m benchmarks.kills                          # 200 kills while encoding"
	@echo "$(PYTHON) -m benchmarks.busy [FILE.vdb]                # the same encode alone and beside busy processes"

clean:  ## Remove the virtual environment, the compiled core, the built viewer, the demo and all caches
	rm -rf $(VENV) demo build dist wheelhouse viewer/node_modules viewer/dist codec/inrv/viewer/page.html codec/inrv/_core.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +
