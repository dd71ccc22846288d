# make demo   train, test and report on rendered people: no data, no GPU, minutes
# make test   linters, types and the whole test suite
# make bench  benchmarks, peers beside us in one run
# make docs   the documentation site, into site/
# make mutants PART=model.supervision   which changes to a module no test notices (docs/mutants.md)
# Each makes .venv with pinned versions first; a second call starts at once.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
DEMO_DIR ?= output/demo
DEMO_OPTS ?=
# bfloat16 where the CPU has instructions for it: a step takes about two thirds of the time
DEMO_AMP := $(if $(shell grep -m1 -oE 'avx512_bf16|amx_bf16' /proc/cpuinfo 2>/dev/null),True,False)

export FASTREID_DATASETS ?= datasets

.PHONY: demo test bench docs mutants
.DELETE_ON_ERROR:

demo: $(VENV)/.complete
	$(RUN) tools/train_net.py --config-file configs/Synthetic/privacy_agw.yml --resume OUTPUT_DIR $(DEMO_DIR) SOLVER.AMP.ENABLED $(DEMO_AMP) $(DEMO_OPTS)
	@echo "Demo: $(DEMO_DIR)/report.html, $(DEMO_DIR)/results.json, $(DEMO_DIR)/figures/, checkpoints in $(DEMO_DIR)/"

test: $(VENV)/.complete
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses=4 --dist loadfile

bench: $(VENV)/.complete
	$(RUN) tools/bench.py

# the theme's notice about MkDocs 2 is not about this site
docs: $(VENV)/.complete
	$(RUN) -m pip install --quiet -r requirements-docs.txt
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

mutants: $(VENV)/.complete
	$(RUN) -m pip install --quiet -r requirements-mutants.txt
	$(RUN) tests/mutants.py $(PART) $(if $(JOBS),--jobs $(JOBS))

$(VENV)/.complete: requirements.txt requirements-dev.txt setup.py
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet -r requirements.txt -r requirements-dev.txt
	$(RUN) -m pip install --quiet --no-deps fastreid==1.4.0
	$(RUN) -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@
