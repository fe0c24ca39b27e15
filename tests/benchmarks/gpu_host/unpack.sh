#!/usr/bin/env bash
# bash unpack.sh TARGET: makes a virtual environment of the parts beside this script. What is not
# packed of CUDA's libraries is linked from the packages of the `python3` that is found first.
set -euo pipefail
cd "$(dirname "$0")"
target=$1
site=$target/lib/python3.12/site-packages
python3 -m venv --without-pip "$target"
chmod +x ./zstd
ls part-* | sort -t- -k2 -n | xargs cat | ./zstd -d --long=27 | tar -C "$target" -xf -
ln -s "$site/bin/ninja" "$target/bin/"  # FlashInfer calls it
"$target/bin/python" -m compileall -q -j 0 "$site" > /dev/null || true  # as pip does when it installs
host=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
for library in "$host"/nvidia/*/; do
  library=${library%/}
  [ -e "$site/nvidia/${library##*/}" ] || ln -s "$library" "$site/nvidia/"
done
