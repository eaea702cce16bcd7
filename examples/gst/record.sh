#!/bin/sh
# Takes in the stream of OBS Studio (or any other encoder) and records it to MP4. Ends when the encoder stops.
#
#     record.sh FILE.mp4
#
# In OBS: Settings, Stream, Service "Custom...", Server rtmp://127.0.0.1/live, Stream Key: any (with KEY=s3cret:
# any?key=s3cret). The stream must have H.264 video and AAC sound, which is what OBS sends by default.
#
#   KEY      who publishes has to know this (none)
. "$(dirname "$0")/launch.sh"
usage "$@"

[ $# = 1 ] || fail "usage: record.sh FILE.mp4"

# on-disconnect=eos: the file is complete when the encoder has left. latency=0: no clock waits for these frames.
launch rtmpserversrc name=source address="$ADDRESS" port="$PORT" on-disconnect=eos latency=0 \
    ${KEY:+publish-key="$KEY"} \
    source.video ! queue ! h264parse ! mux. \
    source.audio ! queue ! aacparse ! mux. \
    mp4mux name=mux ! filesink location="$1"
