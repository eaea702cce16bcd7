#!/usr/bin/env python3
"""Publishes pictures on a server, as a screen recorder does.

    publish.py SOURCE URL [PICTURES-PER-SECOND]

SOURCE is a file of H.264 in Annex B form, or `-` for standard input. A whole screen, by way of ffmpeg:

    ffmpeg -f x11grab -i :0 -r 25 -c:v libx264 -tune zerolatency -f h264 - | publish.py - rtmp://HOST/live/screen 25
"""

import argparse
import os
import re
import sys
import time
from typing import Iterator

from streamengine import Codec, Engine, Error, Format, Status

# A start code and the first two bytes of a NAL unit.
NAL = re.compile(rb"\x00?\x00\x00\x01(..)", re.DOTALL)


def pictures(fd: int) -> Iterator[bytes]:
    """Pictures (access units) of an H.264 byte stream, each as soon as the next one begins."""
    data, at, sliced = b"", 0, False
    while True:
        more = os.read(fd, 65536)
        if not more:
            break
        data += more
        while True:
            nal = NAL.search(data, at)
            if nal is None:
                at = max(0, len(data) - 5)  # where a start code may have begun
                break
            kind, is_first = nal[1][0] & 31, nal[1][1] >> 7
            is_slice = 1 <= kind <= 5
            # After a slice, another picture begins with a delimiter, parameter set, SEI or first slice.
            if sliced and (is_first if is_slice else 6 <= kind <= 9):
                yield data[:nal.start()]
                data, at, sliced = data[nal.start():], 0, False
            else:
                at, sliced = nal.start(1), sliced or is_slice
    if data:
        yield data


def publish(engine: Engine, fd: int, rate: int) -> int:
    count = 0
    with engine.publish("live/capture") as publisher:  # its end is the stream's
        publisher.set_metadata({"encoder": "publish.py"})
        start = time.monotonic()
        for picture in pictures(fd):
            # The pace of a live stream is the program's own: a push never waits.
            time.sleep(max(0.0, start + count / rate - time.monotonic()))
            publisher.push(picture, Codec.H264, count * 1_000_000_000 // rate, format=Format.ANNEXB)
            count += 1
    return count


def main(source: str, url: str, rate: int) -> None:
    fd = 0 if source == "-" else os.open(source, os.O_RDONLY)
    with Engine() as engine:
        # The engine connects as soon as the stream is live, and again whenever the connection is lost.
        relay = engine.add_push("live/capture", url)
        count = publish(engine, fd, rate)
        target = engine.relay_status(relay)
        print(f"published {count} pictures to {target.url}")
        if target.last_error != Status.OK:
            raise Error(target.last_error, target.last_error_text)
        if not engine.stop(drain=2):  # sends what is left
            sys.exit("not everything could be sent")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", metavar="SOURCE", help="a file of H.264 in Annex B form; - is standard input")
    parser.add_argument("url", metavar="URL", help="where to: rtmp://HOST/APP/NAME")
    parser.add_argument("rate", metavar="PICTURES-PER-SECOND", nargs="?", type=int, default=25)
    try:
        main(**vars(parser.parse_args()))
    except Error as error:
        sys.exit(f"{error.code.name}: {error}")
    except KeyboardInterrupt:
        pass
