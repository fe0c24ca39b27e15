#!/usr/bin/env bash
# Install each client into an environment of its own: install.sh FOLDER, the folder of all of them.
set -euo pipefail
mkdir -p "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")"
bin=$PWD/../../.venv/bin
clients=$PWD
cd "$folder"
for lock in "$clients"/*/requirements.txt; do
  name=$(basename "$(dirname "$lock")")
  "$bin/uv" venv -q --clear --python "$bin/python" "$name"
  "$bin/uv" pip sync -q --python "$name/bin/python" "$lock"
done
if command -v npm > /dev/null; then
  mkdir -p openai_javascript && cp "$clients"/openai_javascript/package*.json openai_javascript
  npm ci --prefix openai_javascript --silent --no-audit --no-fund
else
  echo "npm is not installed: OpenAI's JavaScript client is left out"
fi
