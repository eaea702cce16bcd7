#!/bin/sh
# Serves an FLV file to players as a live stream, in real time. Nothing is decoded.
#
#     play-file.sh [FILE.flv]              default: the bundled clip
#
# Play it with `ffplay rtmp://127.0.0.1/live/stream`.
#
#   STREAM   name of the stream (stream)
#   LOOPS    how often, without a seam; -1 for ever (1)
. "$(dirname "$0")/launch.sh"
usage "$@"

file=${1:-$(dirname "$0")/../media/demo.flv}
[ -r "$file" ] || fail "cannot read $file"

if [ "${LOOPS:-1}" = 1 ]; then
    # The colon links every pad of the demuxer; with `!` it would be the first one only.
    set -- filesrc location="$file" ! flvdemux :
else
    set -- flvloopsrc location="$file" loops="$LOOPS" !
fi
launch "$@" rtmprelaysink address="$ADDRESS" port="$PORT" stream="${STREAM:-stream}"
