#!/usr/bin/env bash
# Train all of nano, two halves of at most ten minutes each:
#
#   bash tests/nano/train.sh hear  CORPUS OUT [SCALE] [SENTENCES]   corpus, speech tokenizer, speaker
#                                                                   encoder; the vocoder is started
#   bash tests/nano/train.sh speak CORPUS OUT [SCALE]               flow and Thinker, at once; waits
#                                                                   for the vocoder
#
# SCALE multiplies every training time (0.1: a rehearsal). A second GPU is used if there is one.
set -uo pipefail
half=$1 corpus=$2 out=$3 scale=${4:-1} sentences=${5:-20000}
mkdir -p "$out"
second=$(python3 -c 'import torch; print(min(1, torch.cuda.device_count() - 1))')
minutes() { python3 -c "print(round($1 * $scale, 3))"; }
step() { # step GPU NAME ARGUMENTS...
  local gpu=$1 name=$2 begin=$SECONDS
  shift 2
  CUDA_VISIBLE_DEVICES=$gpu python3 -u -m tests.nano "$name" "$@" >"$out/$name.log" 2>&1
  local status=$?
  echo "$name: status $status after $((SECONDS - begin)) s"
  tail -n 4 "$out/$name.log"
  return $status
}

case $half in
hear)
  step 0 corpus "$corpus" --sentences "$sentences" --processes "$(nproc --all)" || exit 1
  CUDA_VISIBLE_DEVICES=$second setsid python3 -u -m tests.nano vocoder "$corpus" "$out" \
    --minutes "$(minutes 8.5)" >"$out/vocoder.log" 2>&1 &
  echo $! >"$out/vocoder.pid"
  (step 0 speaker-encoder "$corpus" "$out" --minutes "$(minutes 1)" &&
    step 0 embeddings "$corpus" "$out") &
  speakers=$!
  step 0 speech-tokenizer "$corpus" "$out" --minutes "$(minutes 3)" && step 0 codes "$corpus" "$out"
  wait $speakers
  ;;
speak)
  (step "$second" flow "$corpus" "$out" --minutes "$(minutes 7.8)") &
  step 0 thinker "$corpus" "$out" --minutes "$(minutes 8)"
  wait
  while kill -0 "$(cat "$out/vocoder.pid")" 2>/dev/null; do sleep 1; done
  tail -n 4 "$out/vocoder.log"
  ;;
esac
