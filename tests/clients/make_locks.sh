#!/usr/bin/env bash
# Resolve the clients' locks again: each requirements.in and package.json.
set -euo pipefail
cd "$(dirname "$0")"
for wanted in */requirements.in; do
  ../../.venv/bin/uv pip compile -q "$wanted" --override overrides.txt --universal \
    --python-version 3.11 --no-annotate --no-header -o "${wanted%.in}.txt"
done
npm install --prefix openai_javascript --package-lock-only --no-audit --no-fund
