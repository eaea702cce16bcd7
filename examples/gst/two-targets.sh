#!/bin/sh
# Pushes an FLV file to two servers, in real time, and serves it here as well. A target that refuses or is lost is
# tried again; the other one does not notice.
#
#     two-targets.sh URL URL [FILE.flv]    default: the bundled clip
#
#     two-targets.sh rtmp://one.example/live/key rtmps://two.example/app/key
#
#   SERVE    false serves nothing here (true)
. "$(dirname "$0")/launch.sh"
usage "$@"

[ $# -ge 2 ] || fail "usage: two-targets.sh URL URL [FILE.flv]"
file=${3:-$(dirname "$0")/../media/demo.flv}
[ -r "$file" ] || fail "cannot read $file"

# wait-for-connection: a file has no live moment to miss, so it starts when somebody receives it.
launch filesrc location="$file" ! flvdemux : \
    rtmprelaysink address="$ADDRESS" port="$PORT" serve="${SERVE:-true}" wait-for-connection=true \
    targets="<$1,$2>"
