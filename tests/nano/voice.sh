#!/usr/bin/env bash
# A voice for nano out of Kokoro's, in slices of less than ten minutes on one GPU:
#
#   bash tests/nano/voice.sh speak MODELS WORK OUT   Kokoro's duets, their corpus; speaker encoder and
#                                                    speech tokenizer; the vocoder is started
#   bash tests/nano/voice.sh first MODELS WORK OUT   more than half of the flow
#   bash tests/nano/voice.sh last  MODELS WORK OUT   the rest of it; waits for the vocoder
#
# OUT gets flow.pt in parts, flow.pt.00, …: `cat` joins them. No file of it is above 16 MB.
# MODELS: as ears/slice.sh wants it. WORK: a folder for speech, corpus and state. OUT: what is kept.
# LIMIT_S: when it must have ended. DEVICE=cpu:0, TEACHERS=1, UTTERANCES=0 with a few hundred utterances
# in WORK/duets and SCALE=0.01 rehearse it.
set -uo pipefail
slice=$1 models=$2 work=$3 out=$4
limit=${LIMIT_S:-560} device=${DEVICE:-cuda} scale=${SCALE:-1} speech_s=${SPEECH_S:-150}
python=${PYTHON:-python3}
export OMP_NUM_THREADS=${THREADS:-4} PYTHONPATH="$PWD:$models/hibari:${PYTHONPATH:-}" PYTHONUNBUFFERED=1
corpus=$work/corpus kept=$work/kept
mkdir -p "$kept" "$out"
minutes() { $python -c "print(round(max($1, 3) * $scale / 60, 3))"; }
step() { # step NAME ARGUMENTS...
  local name=$1 begin=$SECONDS
  $python -m tests.nano "$@" >>"$kept/$name.log" 2>&1
  local status=$?
  echo "$name: status $status after $((SECONDS - begin)) s"
  tail -n 3 "$kept/$name.log" | cut -c 1-300
  return $status
}
flow() { # flow BEGIN END
  step flow "$corpus" "$kept" --minutes "$(minutes $((limit - SECONDS - 45)))" --span "$1" "$2"
}

case $slice in
speak)
  OMP_NUM_THREADS=1 $python -m tests.nano.corpus.natural "$work/duets" --teacher duets --models "$models/kokoro" \
    --lines "$models/lines" --device "$device" --minutes "$($python -c "print($speech_s / 60)")" \
    --processes "${TEACHERS:-3}" --limit "${UTTERANCES:-1000000}" --shard 300 --seed 7000 2>&1 | tail -n 3
  step natural-corpus "$work/duets" "$corpus" || exit 1
  setsid nohup $python -m tests.nano vocoder "$corpus" "$kept" --minutes "$(minutes "${VOCODER_S:-1080}")" \
    >"$kept/vocoder.log" 2>&1 </dev/null &
  echo $! >"$kept/vocoder.pid"
  left=$((limit - SECONDS))
  (step speaker-encoder "$corpus" "$kept" --minutes "$(minutes 70)" &&
    step embeddings "$corpus" "$kept") &
  speakers=$!
  step speech-tokenizer "$corpus" "$kept" --minutes "$(minutes $((left - 60)))" &&
    step codes "$corpus" "$kept"
  wait $speakers
  ;;
first) flow 0 0.6 ;;
last)
  flow 0.6 1
  while kill -0 "$(cat "$kept/vocoder.pid")" 2>/dev/null && [ $SECONDS -lt "$limit" ]; do sleep 1; done
  tail -n 2 "$kept/vocoder.log" | cut -c 1-300
  ;;
esac
for part in speech_tokenizer speaker_encoder hift; do cp "$kept/$part.pt" "$out/" 2>/dev/null; done
[ -e "$kept/flow.pt" ] && split -d -b 15000000 "$kept/flow.pt" "$out/flow.pt."
(cd "$kept" && tar -cf "$out/$slice.tar" $(ls | grep -E '\.(json|csv|log|yaml|wav)$'))
echo "$slice: ended after $SECONDS s"
ls -l "$out"
