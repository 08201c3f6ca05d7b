# `make demo` trains a detector from scratch, `make test` checks the project; both set up .venv first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
DEMO_CONFIG := configs/scratch/mask_rcnn_r18_gn_fast_shapes.py

DEMO_DATA := --train 1000 --val 100 --size 128 --classes 3 --objects 1 4 --object-size 0.4 0.7 \
	--rotation 0 --occlusion 0.1

.PHONY: demo decide miniature real calibration test lint setup help data/shapes
.DEFAULT_GOAL := help

help:
	@echo "make demo        train a Mask R-CNN from random initialization on drawn images (minutes, no GPU)"
	@echo "make decide      pre-train or not? decide's answer for these drawn images (15 minutes; with BUDGET=1h from the start it trains longer)"
	@echo "make miniature   the paper's claims on drawn images (hours; CLAIM=1 SEEDS=1 AGAIN=folder repeats a part)"
	@echo "make real        ImageNet or scratch on real images in data/real/ (hours on a GPU; the same options)"
	@echo "make calibration is decide right? on drawn and real data sets (hours; the same options)"
	@echo "make test        lint and tests"

setup: $(VENV)/ready

# made once, and made anew when requirements.txt changes
$(VENV)/ready: requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 12) else \
	"error: Python 3.10, 3.11 or 3.12 is needed, this is %d.%d: make PYTHON=python3.11 ..." % v)'
	@echo "Setting up $(VENV) (a few minutes, once)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# goes on where it was interrupted, and does nothing when it is there
data/shapes: setup
	$(RUN) tools/data/shapes.py $@ $(DEMO_DATA)

demo: data/shapes
	$(RUN) tools/train.py $(DEMO_CONFIG) --work-dir work_dirs/demo \
		$(if $(wildcard work_dirs/demo/last_checkpoint),--resume)
	@echo "See work_dirs/demo: curves.png, pictures/, metrics.json"

BUDGET ?= 15m

# goes on where it was interrupted; a larger budget then adds seeds
decide: data/shapes
	$(RUN) tools/decide.py --data data/shapes --images 250 --budget $(BUDGET)

CLAIM ?=
SEEDS ?= 3
JOBS ?=
AGAIN ?=

# go on where they were stopped
miniature real calibration: setup
	$(RUN) tools/analysis/study.py $@ $(if $(CLAIM),--claim $(CLAIM)) --seeds $(SEEDS) $(if $(JOBS),--jobs $(JOBS)) $(if $(AGAIN),--again $(AGAIN))

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# a process a core, of one thread; a file stays together, for its fixtures
test: lint
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses auto --maxprocesses 8 --dist loadscope
