#!/bin/sh
# Takes in a stream as live/in, writes a text and the time into its picture, and serves it as live/out: decode, draw,
# encode. Sound goes through as it is. Publisher and players use the same port.
#
#     overlay.sh [TEXT]
#
# Publish to rtmp://127.0.0.1/live/in, play rtmp://127.0.0.1/live/out. Publishers may come and go.
#
#   KEY      who publishes has to know this (none)
#   LATENCY  how late a frame may be and still be in time, in ms: the network's jitter and the encoder's work (300)
#   BITRATE  of the video in kbit/s (2500)
. "$(dirname "$0")/launch.sh"
usage "$@"

# sync stays true: it evens out the jitter, and sound waits for the pictures that take longer.
launch rtmpserversrc name=source address="$ADDRESS" port="$PORT" stream=in takeover=replace latency="${LATENCY:-300}" \
    ${KEY:+publish-key="$KEY"} \
    source.video ! queue ! h264parse ! avdec_h264 ! videoconvert ! \
    textoverlay text="${1:-streamengine}" valignment=top halignment=left font-desc="Sans 20" ! \
    clockoverlay valignment=top halignment=right font-desc="Sans 20" ! \
    videoconvert ! video/x-raw,format=I420 ! \
    x264enc tune=zerolatency speed-preset=veryfast bitrate="${BITRATE:-2500}" key-int-max=60 ! \
    queue ! sink.video \
    source.audio ! queue max-size-time=3000000000 ! aacparse ! sink.audio \
    rtmprelaysink name=sink address="$ADDRESS" port="$PORT" stream=out
