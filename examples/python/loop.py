#!/usr/bin/env python3
"""Plays an FLV or MP4 file again and again as a live stream, pushes it to two servers, and prints how they take it.

    loop.py FILE URL URL [LOOPS]             default: until Ctrl-C
"""

import argparse
import sys

from streamengine import Engine, Error, EventType, FileState, Status


def print_status(engine: Engine, relay: int) -> None:
    status = engine.relay_status(relay)
    error = "" if status.last_error == Status.OK else f", last error: {status.last_error_text}"
    print(f"{status.url}: {status.state.name.lower()}, {status.frames} frames, {status.bytes_sent} bytes, "
          f"{status.retries} retries{error}", flush=True)


def watch(engine: Engine, file: int, relays: list) -> None:
    while engine.file_status(file).state == FileState.PLAYING:
        # What changes is told at once, and everything once a second.
        event = engine.next_event(timeout=1)
        if event is None:
            for relay in relays:
                print_status(engine, relay)
        elif event.type in (EventType.RELAY_STATE, EventType.FILE_STATE):
            print(f"{event.peer}: {event.message}", flush=True)


def main(file: str, first: str, second: str, loops: int) -> None:
    with Engine() as engine:
        relays = [engine.add_push("live/loop", url) for url in (first, second)]
        job = engine.publish_file(file, "live/loop", loops)
        try:
            watch(engine, job, relays)
        except KeyboardInterrupt:
            pass
        for relay in relays:
            print_status(engine, relay)
        engine.stop(drain=2)  # both targets get the end of the stream


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("first", metavar="URL", help="one server")
    parser.add_argument("second", metavar="URL", help="the other")
    parser.add_argument("loops", metavar="LOOPS", nargs="?", type=int, default=-1, help="default: until Ctrl-C")
    try:
        main(**vars(parser.parse_args()))
    except Error as error:
        sys.exit(f"{error.code.name}: {error}")
