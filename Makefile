# `make sine` runs the main study, `make test` checks everything. Both work from a fresh clone with Python and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
BENCH := $(VENV)/bench-installed
NUMERIC := tests/core tests/models tests/factors
STUDIES := smoke sine sine_shapes quantizers_digits temperature kl_direction progressive harder_tasks valence sunspots

.PHONY: sine test check slow bench results techniques verify clean

sine: $(STAMP)
	$(BIN)/kdrun factorial experiments/sine.yaml --results out

test: $(STAMP)
	$(BIN)/python -m pytest -q -n auto -m "not slow"
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q -n auto -m "not slow" $(NUMERIC) --cov --cov-report=term:skip-covered
	NUMBA_BOUNDSCHECK=1 KDRUN_CACHE_DIR=$(VENV)/boundscheck $(BIN)/python -m pytest -q -n auto -m "not slow" $(NUMERIC) \
		--ignore tests/factors/test_factors_soft_targets.py
	$(BIN)/kdrun verify results/smoke

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n auto -m "not slow" -x $(NUMERIC) tests/stats tests/study --ignore tests/study/test_study_fuzz.py

slow: $(STAMP)
	$(BIN)/python -m pytest -q -m slow

# A committed study, run again and compared bit for bit.
verify: $(STAMP)
	$(BIN)/kdrun verify results/smoke

# kdrun beside JAX and PyTorch, one core each. PyPI's PyTorch for Linux brings gigabytes of CUDA; its CPU build is at
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu.
bench: $(BENCH)
	$(BIN)/python benchmarks/speed.py

# The committed reference results, remade: without their databases, so that they are verified as a clone of them is.
# Some five minutes on two cores.
results: $(STAMP)
	for study in $(STUDIES); do $(BIN)/kdrun factorial experiments/$$study.yaml --results results --fresh --yes || exit 1; done
	$(BIN)/kdrun report results
	rm -f results/*/runs.sqlite results/*/runs.sqlite-wal results/*/runs.sqlite-shm

# docs/techniques.md, from the code and results/; after a new technique: python tools/techniques.py --gradients.
techniques: $(STAMP)
	$(BIN)/python tools/techniques.py

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

$(BENCH): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	touch $(BENCH)

clean:
	rm -rf $(VENV) out
