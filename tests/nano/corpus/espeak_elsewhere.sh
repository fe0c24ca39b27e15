#!/bin/sh
# Makes eSpeak NG usable from a folder, without installing it: unpacks Debian's packages and builds a
# silent libpcaudio, whose real one would ask for PulseAudio and ALSA (nothing is ever played here).
#
#   apt-get download libespeak-ng1 espeak-ng-data libsonic0
#   eval "$(tests/nano/corpus/espeak_elsewhere.sh FOLDER *.deb)"
#
# Needs dpkg-deb and a C compiler ($CC, cc). Prints the exports that tests/nano/corpus/espeak.py and
# the dynamic linker read.
set -eu

folder=$1
shift
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
for deb in "$@"; do
    dpkg-deb --extract "$deb" "$folder"
done

library=$(find "$folder" -name 'libespeak-ng.so.1' | head -n 1)
data=$(find "$folder" -path '*/espeak-ng-data/phontab' | head -n 1)
lib=$(dirname "$library")
if [ -z "$library" ] || [ -z "$data" ]; then
    echo "the packages hold no libespeak-ng.so.1 or no espeak-ng-data" >&2
    exit 1
fi

# What libespeak-ng 1.51 calls of libpcaudio, doing nothing.
"${CC:-cc}" -shared -fPIC -Wl,-soname,libpcaudio.so.0 -o "$lib/libpcaudio.so.0" -x c - <<'C'
#include <stddef.h>
void *create_audio_device_object(const char *d, const char *n, const char *t) { return NULL; }
int audio_object_open(void *o, int format, unsigned rate, unsigned char channels) { return 0; }
void audio_object_close(void *o) {}
void audio_object_destroy(void *o) {}
int audio_object_write(void *o, const void *data, size_t bytes) { return 0; }
int audio_object_drain(void *o) { return 0; }
int audio_object_flush(void *o) { return 0; }
const char *audio_object_strerror(void *o, int error) { return "no sound here"; }
C

echo "export NANO_ESPEAK_LIBRARY='$library'"
echo "export NANO_ESPEAK_DATA='$(dirname "$(dirname "$data")")'"
echo "export LD_LIBRARY_PATH='$lib'\"\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}\""
