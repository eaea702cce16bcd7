#!/bin/sh
# Serves HEVC video and Opus sound, which RTMP carries since Enhanced RTMP; pushes it too where URL is given.
#
#     hevc-opus.sh [URL]
#
# Players and servers must know Enhanced RTMP: ffmpeg 6.1 (HEVC) and 8.0 (Opus), or rtmpserversrc.
#
#   SIZE     WIDTHxHEIGHT of the picture (1280x720)
#   BITRATE  of the video in kbit/s (1500)
. "$(dirname "$0")/launch.sh"
usage "$@"

size=${SIZE:-1280x720}

# shellcheck disable=SC2086
launch videotestsrc is-live=true pattern=ball ! "video/x-raw,width=${size%x*},height=${size#*x},framerate=30/1,format=I420" ! \
    x265enc tune=zerolatency speed-preset=ultrafast bitrate="${BITRATE:-1500}" key-int-max=60 ! h265parse ! \
    rtmprelaysink name=sink address="$ADDRESS" port="$PORT" sync=false ${1:+location="$1"} \
    audiotestsrc is-live=true wave=ticks ! audio/x-raw,channels=2,rate=48000 ! opusenc ! queue ! sink.
