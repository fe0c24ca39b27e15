#!/usr/bin/env bash
# One slice of the ears' training on a GPU whose host makes the speech:
#
#   bash tests/nano/ears/slice.sh first MODELS WORK OUT   makes speech for two minutes, then trains
#                                                         while the processors make more
#   bash tests/nano/ears/slice.sh next  MODELS WORK OUT   goes on where the first one stopped
#
# MODELS: what README.md says how to gather: kokoro/, hibari/ (importable), lines/, vocabulary.json.
# WORK: a folder for the speech and the state. OUT: what is kept, no file above 16 MB.
# LIMIT_S: when it must have ended. DEVICE=cpu and PROCESSES=1 make a rehearsal of it.
set -uo pipefail
half=$1 models=$2 work=$3 out=$4
limit=${LIMIT_S:-550} device=${DEVICE:-cuda} processes=${PROCESSES:-15}
speech_s=${SPEECH_S:-140} check_s=${CHECK_S:-45}
python=${PYTHON:-python3}
export OMP_NUM_THREADS=1 PYTHONPATH="$PWD:$models/hibari:${PYTHONPATH:-}" PYTHONUNBUFFERED=1
mkdir -p "$work" "$out"
share() { local n=$(($processes * $1 / 15)); echo $((n > 0 ? n : 1)); } # of the processes, in 15ths
minutes() { $python -c "print(max($1, 3) / 60)"; }
speak() { # speak NAME MINUTES PROCESSES ARGUMENTS...: in the background
  local name=$1 time=$2 count=$3
  shift 3
  $python -m tests.nano.corpus.natural "$work/$name" --models "$models/kokoro" \
    --lines "$models/lines" --minutes "$time" --processes "$count" "$@" >>"$out/speech.log" 2>&1 &
}
train() { # train BEGIN END
  local left=$((limit - SECONDS - check_s))
  echo "training for $left s from $SECONDS s on"
  $python -m tests.nano.ears.train "$out" --folder "$work/kokoro=6" --folder "$work/hibari=2" \
    --folder "$work/espeak=1" --held-out "$work/held-out" --phonemes \
    "$models/hibari/hibari/assets/vocab.json" --minutes "$(minutes $left)" --span "$1" "$2" \
    --seconds "${BATCH_S:-1200}" 2>&1 | tee "$out/ears-$half.log" | grep -v "^ears seconds" ||
    tail -n 30 "$out/ears-$half.log"
  tail -n 3 "$out/ears-$half.log" | cut -c 1-600
}

enough_shards=${ENOUGH:-80}    # of a hundred utterances: about eight hours
few() { [ "$(find "$work/kokoro/gpu" -name '*.npz' | wc -l)" -lt "$enough_shards" ]; }

if [ "$half" = next ] && [ ! -e "$work/ears_state.pt" ]; then
  echo "no state of a first slice in $work: this one is the first"
  half=first speech_s=${SPEECH_S:-90}
fi
case $half in
first)
  cp "$models/vocabulary.json" "$out/"
  for voice in ${VOICES:-af_bella am_michael bf_emma bm_george}; do
    speak "held-out/$voice" 5 1 --voices $voice --held-out --seed 9000 --limit "${HELD_OUT:-40}" \
      --shard "${HELD_OUT:-40}"
  done
  time=$(minutes "$speech_s")
  speak kokoro/gpu "$time" "$(share 8)" --device "$device" --seed 0 --shard "${SHARD:-100}"
  made=$!
  speak hibari "$time" "$(share 2)" --teacher hibari --seed 100 --no-sound --shard "${SHARD:-200}"
  speak espeak "$(minutes $((speech_s / 2)))" 1 --teacher espeak --no-sound --seed 200 --shard "${SHARD:-200}"
  wait $made
  echo "speech: $(find "$work" -name '*.npz' | wc -l) shards after $SECONDS s"
  left=$(minutes $((limit - SECONDS - check_s)))
  speak kokoro/cpu "$left" "$(share 9)" --seed 1000 --shard 50
  few && speak kokoro/gpu "$left" "$(share 2)" --device "$device" --seed 50 --shard 50
  nice -n 5 $python -m tests.nano.corpus.shards pack "$work/kokoro/gpu" "$out/kokoro" --most 2 --megabytes 14 \
    >>"$out/speech.log" 2>&1 &
  train 0 0.5
  ;;
next)
  cp "$models/vocabulary.json" "$out/"
  mv "$work/ears_state.pt" "$work/ears_losses.csv" "$out/"
  left=$(minutes $((limit - SECONDS - check_s)))
  speak kokoro/cpu "$left" "$(share 9)" --seed 2000 --shard 50
  few && speak kokoro/gpu "$(minutes $(((limit - SECONDS - check_s) / 2)))" "$(share 2)" \
    --device "$device" --seed 60 --shard 50
  nice -n 5 $python -m tests.nano.corpus.shards pack "$work/kokoro/cpu" "$out/kokoro-cpu" --most 2 --megabytes 14 \
    >>"$out/speech.log" 2>&1 &
  train 0.5 1
  ;;
esac
cp "$out/ears_losses.csv" "$work/"
mv "$out/ears_state.pt" "$work/" 2>/dev/null # too large to travel; for the next slice here
nice -n 5 $python -m tests.nano.corpus.shards pack "$work/held-out" "$out/held-out" --most 1
(cd "$out" && tar -cf "$half.tar" --remove-files *.json *.csv *.log held-out-0.zip) # few files travel
echo "$half: ended after $SECONDS s"
ls -l "$out"
