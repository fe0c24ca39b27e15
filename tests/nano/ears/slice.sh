#!/usr/bin/env bash
# One slice of the ears' training on a GPU whose host makes speech:
#
#   bash tests/nano/ears/slice.sh voices MODELS WORK OUT   starts what the processors say; comes back
#                                                          at once, and they go on
#   bash tests/nano/ears/slice.sh first  MODELS WORK OUT   two minutes of Kokoro on the GPU, then a
#                                                          third of the training
#   bash tests/nano/ears/slice.sh next   MODELS WORK OUT   goes on where the one before stopped
#   bash tests/nano/ears/slice.sh last   MODELS WORK OUT   the rest, and the whole measurement
#
# MODELS: what README.md says how to gather: kokoro/, hibari/ (importable), lines/, vocabulary.json,
# and ears.pt, ears.pt.1, … where training is not to begin from nothing.
# WORK: a folder for the speech and the state. OUT: what is kept, no file above 16 MB.
# LIMIT_S: when it must have ended. DEVICE=cpu:0, PROCESSES=1, TEACHERS=1, UTTERANCES=4, HELD_OUT=2 and
# BATCH_S=20 make a rehearsal of it.
set -uo pipefail
slice=$1 models=$2 work=$3 out=$4
limit=${LIMIT_S:-560} device=${DEVICE:-cuda} processes=${PROCESSES:-14} teachers=${TEACHERS:-3}
speech_s=${SPEECH_S:-115}
python=${PYTHON:-python3}
export OMP_NUM_THREADS=1 PYTHONPATH="$PWD:$models/hibari:${PYTHONPATH:-}" PYTHONUNBUFFERED=1
mkdir -p "$work" "$out"
log=$work/speech.log
minutes() { $python -c "print(max($1, 3) / 60)"; }
speak() { # speak NAME SECONDS PROCESSES ARGUMENTS...: in the background, in a session of its own
  local name=$1 time
  time=$(minutes "$2")
  setsid nohup nice -n 19 $python -m tests.nano.corpus.natural "$work/$name" --lines "$models/lines" \
    --models "$models/kokoro" --minutes "$time" --processes "$3" --limit "${UTTERANCES:-1000000}" "${@:4}" >>"$log" 2>&1 </dev/null &
}
train() { # train BEGIN END SECONDS_OF_THE_CHECK ARGUMENTS...
  local left=$((limit - SECONDS - $3))
  echo "$slice: training for $left s from $SECONDS s on"
  $python -m tests.nano.ears.train "$out" --folder "$work/kokoro=6" --folder "$work/hibari=4" \
    --folder "$work/espeak=1" --held-out "$work/held-out" --phonemes \
    "$models/hibari/hibari/assets/vocab.json" --end $(($(date +%s) + left)) --span "$1" "$2" \
    --seconds "${BATCH_S:-1500}" "${@:4}" 2>&1 | tee "$out/ears-$slice.log" |
    grep -v "^ears seconds"
  grep "^ears seconds" "$out/ears-$slice.log" | tail -n 2 | cut -c 1-300
}
held_out() { # held_out DEVICE SENTENCES: by the voices that are never trained on
  for voice in ${VOICES:-af_bella am_michael bf_emma bm_george}; do
    speak "held-out/$voice" 90 1 --voices $voice --held-out --seed 9000 --device "$1" \
      --limit "$2" --shard "$2"
  done
}
shards() { find "$work/$1" -name '*.npz' 2>/dev/null | wc -l; }

if [ "$slice" = voices ]; then
  speak hibari "${HIBARI_S:-420}" "$processes" --teacher hibari --seed 100 --no-sound \
    --shard "${SHARD:-100}"
  echo $! >"$work/hibari.pid"
  speak espeak 60 1 --teacher espeak --no-sound --seed 300 --shard "${SHARD:-200}"
  speak held-out/espeak 60 1 --teacher espeak --no-sound --seed 9000 --held-out --shard 60 --limit 60
  exit 0
fi

if [ "$slice" != first ] && [ ! -e "$work/ears_state.pt" ]; then
  echo "no state of a first slice in $work: this one is the first"
  slice=first speech_s=${SPEECH_S:-90}
fi
cp "$models/vocabulary.json" "$out/"
case $slice in
first)
  cp "$models"/ears.pt* "$out/" 2>/dev/null
  held_out "$device" "${HELD_OUT:-100}"
  speak kokoro/gpu "$speech_s" "$teachers" --device "$device" --seed 0 --no-sound --shard "${SHARD:-200}"
  wait $!
  kill -- "-$(cat "$work/hibari.pid")" 2>/dev/null # the processors are needed now
  echo "speech: $(shards kokoro) of Kokoro, $(shards hibari) of hibari, $(shards espeak) of eSpeak," \
    "$(shards held-out) held out, after $SECONDS s"
  left=$((limit - SECONDS - 30))
  if [ "$(shards kokoro)" = 0 ]; then
    echo "Kokoro said nothing on $device: the processors say it" && tail -n 5 "$log"
    held_out cpu 40
    speak kokoro/cpu "$left" $((processes * 2 / 3)) --seed 1000 --no-sound --shard 50
  fi
  speak kokoro/more "$left" 1 --device "$device" --seed 20 --no-sound --shard 100
  speak hibari "$left" $(((processes + 3) / 4)) --teacher hibari --seed 200 --no-sound --shard 100
  train 0 "${FIRST:-0.31}" "${CHECK_S:-25}" --quick
  ;;
next)
  mv "$work/ears_state.pt" "$work/ears_losses.csv" "$out/"
  cp "$work"/ears.pt* "$out/"
  speak kokoro/more $((limit / 2)) 1 --device "$device" --seed 30 --no-sound --shard 100
  speak hibari $((limit / 2)) $(((processes + 3) / 4)) --teacher hibari --seed 400 --no-sound --shard 100
  train "${FIRST:-0.31}" "${NEXT:-0.74}" "${CHECK_S:-25}" --quick
  ;;
last)
  mv "$work/ears_state.pt" "$work/ears_losses.csv" "$out/"
  cp "$work"/ears.pt* "$out/"
  train "${NEXT:-0.74}" 1 "${CHECK_S:-70}"
  ;;
esac
cp "$out/ears_losses.csv" "$out"/ears.pt* "$work/"
mv "$out/ears_state.pt" "$work/" 2>/dev/null # too large to travel; for the next slice here
cp "$log" "$out/"
(cd "$out" && tar -cf "$slice.tar" --remove-files *.json *.csv *.log) # few files travel
tail -n 12 "$log" | cut -c 1-200
echo "$slice: ended after $SECONDS s"
ls -l "$out"
