#!/usr/bin/env python3
"""Serves a live test picture with sound, and adds, removes and restarts targets while it runs, by commands on stdin.

    targets.py [PORT]                       default 1935; port 0 takes any free one

Commands: `add URL`, `remove ID`, `restart ID`, `list`, `quit`; the end of the input is `quit`, and so is Ctrl-C.
Needs PyGObject (Debian: python3-gi, gir1.2-gstreamer-1.0), and the plugin: docs/gstreamer.md.
gst-plugin/examples/targets.rs is the same in Rust.
"""

import signal
import sys
import threading
import warnings

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

LINE = """
    videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=640,height=360,framerate=30/1 !
    x264enc tune=zerolatency speed-preset=ultrafast key-int-max=60 ! rtmprelaysink name=sink sync=false
    audiotestsrc is-live=true wave=ticks ! avenc_aac ! aacparse ! sink.
"""


def say(text):
    print(text, flush=True)


def field(info, *names):
    """The first field of these that there is."""
    return next((info.get_value(name) for name in names if info.has_field(name)), None)


def describe(info):
    """What is known of a target, in a line; in the statistics two fields have other names than in messages."""
    error = field(info, "error", "last-error")
    text = f"target {field(info, 'id')} {field(info, 'uri', 'uri-masked')} {field(info, 'state')}"
    return f"{text}: {error}" if error else text


class Program:
    def __init__(self, port):
        self.failure = None
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.parse_launch(LINE)
        self.sink = self.pipeline.get_by_name("sink")
        self.sink.set_property("port", port)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGINT, self.end)

    def run(self):
        if self.pipeline.set_state(Gst.State.PLAYING) != Gst.StateChangeReturn.FAILURE:
            threading.Thread(target=self.read_commands, daemon=True).start()
            say(f"playing at rtmp://127.0.0.1:{self.sink.get_property('current-port')}/live/stream")
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        return self.failure

    def end(self):
        """Through the whole pipeline: players and targets get all that has been encoded, then the stream's end."""
        self.pipeline.send_event(Gst.Event.new_eos())
        return GLib.SOURCE_CONTINUE

    def on_message(self, _bus, message):
        """The same news as by the signal `target-state`, but in the main loop's thread."""
        if message.type == Gst.MessageType.ELEMENT and message.has_name("rtmprelaysink-target"):
            say(describe(message.get_structure()))
        elif message.type == Gst.MessageType.WARNING:
            say(f"warning: {message.src.get_name()}: {message.parse_warning()[0].message}")
        elif message.type == Gst.MessageType.ERROR:
            self.failure = f"{message.src.get_name()}: {message.parse_error()[0].message}"
            self.loop.quit()
        elif message.type == Gst.MessageType.EOS:
            self.loop.quit()

    def read_commands(self):
        """Elements may be called from any thread; nothing here needs the main loop's."""
        for line in sys.stdin:
            if not self.obey(*line.split()[:2]):
                break
        self.end()

    def obey(self, command="", argument=""):
        """Does what a line asks for; false if it is the last."""
        if command == "add":
            target = self.sink.emit("add-target", argument, None)
            say(f"target {target} added" if target else f"not a URL to push to: {argument}")
        elif command in ("remove", "restart"):
            done = argument.isdecimal() and self.sink.emit(f"{command}-target", int(argument))
            if not done:
                say(f"no target {argument}")
            elif command == "remove":
                say(f"target {argument} removed")
        elif command == "list":
            self.list()
        elif command != "quit":
            say("commands: add URL, remove ID, restart ID, list, quit")
        return command != "quit"

    def list(self):
        """Players and targets, out of the statistics."""
        stats = self.sink.get_property("stats")
        say(f"{field(stats, 'players')} players")
        _, array = stats.get_list("targets-list")
        for index in range(array.n_values):
            with warnings.catch_warnings():
                # Deprecated, and the only way to such a list. What it gives lives as long as the array.
                warnings.simplefilter("ignore", DeprecationWarning)
                target = array.get_nth(index)
            say(f"{describe(target)}, {field(target, 'bytes-sent') or 0} bytes sent")


if __name__ == "__main__":
    Gst.init(None)
    if not Gst.ElementFactory.find("rtmprelaysink"):
        sys.exit("rtmprelaysink is missing: set GST_PLUGIN_PATH to the folder of libgststreamengine.so")
    sys.exit(Program(int(sys.argv[1]) if len(sys.argv) > 1 else 1935).run())
