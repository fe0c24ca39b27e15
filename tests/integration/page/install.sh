#!/usr/bin/env bash
# Install what drives the browsers: install.sh FOLDER. The browsers themselves are Debian's packages
# chromium and firefox-esr.
set -euo pipefail
mkdir -p "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")"
../../../.venv/bin/pip install -q --no-deps --upgrade --target "$folder/python" -r requirements.txt
if command -v npm > /dev/null; then
  cp package.json package-lock.json "$folder"
  npm ci --prefix "$folder" --silent --no-audit --no-fund
else
  echo "npm is not installed: the check for accessibility is left out"
fi
