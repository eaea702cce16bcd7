# Sourced by the scripts: their --help, the plugin's place, and gst-launch-1.0.
# shellcheck shell=sh

set -eu

# usage ARGUMENTS...: prints the comment at the top of the script where --help is asked for.
usage() {
    case ${1-} in
        -h | --help)
            sed -n -e '1d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "$0"
            cat <<'TEXT'

For every script:
  ADDRESS  where to listen; 0.0.0.0 lets other machines in (127.0.0.1)
  PORT     0 takes any free port (1935)
  VERBOSE  1 prints what elements tell: where they listen, who plays, how targets fare
  DRY_RUN  1 prints the launch line, and does not run it
Ctrl-C ends the stream; a second one ends the program at once.
TEXT
            exit 0
            ;;
    esac
}

fail() {
    echo "$0: $1" >&2
    exit 2
}

# The plugin as cargo builds it, unless it is installed or GST_PLUGIN_PATH names a place.
find_plugin() {
    # Not --exists: that asks for version 1.0 or later.
    if gst-inspect-1.0 rtmprelaysink >/dev/null 2>&1; then return; fi
    target=${CARGO_TARGET_DIR:-$(dirname "$0")/../../target}
    for profile in dist release debug; do
        if [ -e "$target/$profile/libgststreamengine.so" ]; then
            export GST_PLUGIN_PATH="$target/$profile${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
            return
        fi
    done
    fail "no plugin: cargo rustc --profile dist -p gst-plugin-streamengine --lib --crate-type cdylib (docs/gstreamer.md tells more)"
}

# launch WORDS...: the words of the launch line. -e turns Ctrl-C into the stream's end: files are completed, players told.
launch() {
    if [ -n "${DRY_RUN-}" ]; then
        for word in "$@"; do
            case $word in
                *[\ \<\>\;\&\(\)]*) printf "'%s' " "$word" ;;
                *) printf '%s ' "$word" ;;
            esac
        done
        echo
        exit 0
    fi
    command -v gst-launch-1.0 >/dev/null || fail "gst-launch-1.0 is missing (Debian: gstreamer1.0-tools)"
    find_plugin
    if [ -n "${VERBOSE-}" ]; then set -- -m "$@"; fi
    exec gst-launch-1.0 -e "$@"
}

ADDRESS=${ADDRESS:-127.0.0.1}
PORT=${PORT:-1935}
