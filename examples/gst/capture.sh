#!/bin/sh
# Encodes a camera or the screen with x264 and sound with AAC, and serves it; pushes it too where URL is given.
#
#     capture.sh [test|camera|screen] [URL]    default: test, a test picture and a tone
#
# Play it with `ffplay -fflags nobuffer rtmp://127.0.0.1/live/stream`.
#
#   DEVICE   the camera (/dev/video0)
#   AUDIO    test (a tone), mic (the default source of PulseAudio or PipeWire), or none; test goes with test, else mic
#   SIZE     WIDTHxHEIGHT of the picture (1280x720)
#   RATE     pictures per second (30)
#   BITRATE  of the video in kbit/s (2500)
. "$(dirname "$0")/launch.sh"
usage "$@"

kind=${1:-test}
size=${SIZE:-1280x720} rate=${RATE:-30}
raw=video/x-raw,width=${size%x*},height=${size#*x},framerate=$rate/1

case $kind in
    test) video="videotestsrc is-live=true pattern=ball" audio=test ;;
    camera) video="v4l2src device=${DEVICE:-/dev/video0} ! decodebin" audio=mic ;;
    screen) video="ximagesrc use-damage=false" audio=mic ;;
    *) fail "$kind: test, camera or screen" ;;
esac
case ${AUDIO:-$audio} in
    test) sound="audiotestsrc is-live=true wave=ticks" ;;
    mic) sound="autoaudiosrc" ;;
    none) sound= ;;
    *) fail "AUDIO=$AUDIO: test, mic or none" ;;
esac
if [ -n "$sound" ]; then
    sound="$sound ! queue ! audioconvert ! audioresample ! avenc_aac ! aacparse ! sink."
fi

# I420: otherwise x264enc makes 4:4:4, which most players cannot show. A keyframe every two seconds is what large
# platforms ask for. sync=false: a live source has its own pace, so frames are sent as soon as they are encoded.
# shellcheck disable=SC2086
launch $video ! queue ! videoconvert ! videoscale ! videorate ! "$raw,format=I420" ! \
    x264enc tune=zerolatency speed-preset=veryfast bitrate="${BITRATE:-2500}" key-int-max=$((2 * rate)) ! \
    video/x-h264,profile=main ! \
    rtmprelaysink name=sink address="$ADDRESS" port="$PORT" sync=false ${2:+location="$2"} \
    $sound
