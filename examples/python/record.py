#!/usr/bin/env python3
"""Fetches a stream from a server and writes it into an FLV file, until it ends or Ctrl-C.

    record.py URL FILE.flv
"""

import argparse
import struct
import sys
from typing import BinaryIO

from streamengine import Engine, Error, Frame, RelayState, Status


def write_tag(file: BinaryIO, frame: Frame, start_ns: int) -> None:
    """One tag: type, size, time, body, size of the whole. The body is the message as it was published."""
    time = (frame.dts_ns - start_ns) // 1_000_000
    body = frame.flv_body
    file.write(struct.pack(">I", frame.flv_type << 24 | len(body)))
    file.write(struct.pack(">I", (time << 8 | time >> 24 & 0xFF) & 0xFFFFFFFF) + b"\0\0\0")
    file.write(body)
    file.write(struct.pack(">I", len(body) + 11))


def record(engine: Engine, url: str, file: BinaryIO) -> int:
    """How many tags it has written when the stream has ended, or Ctrl-C came."""
    tags, start_ns = 0, None
    with engine.subscribe("in/stream") as subscriber:
        relay = engine.add_pull(url, "in/stream", {"on_refusal": "fail"})
        try:
            while True:
                frame = subscriber.next(timeout=0.5)
                if frame is not None:
                    with frame:
                        start_ns = frame.dts_ns if start_ns is None else start_ns
                        if frame.flv_body:  # of the frames in one tag, the first has it
                            write_tag(file, frame, start_ns)
                            tags += 1
                elif (pull := engine.relay_status(relay)).state == RelayState.FAILED:
                    raise Error(pull.last_error, pull.last_error_text)
        except Error as error:
            if error.code != Status.CLOSED:
                raise
            print(error)  # why the stream has ended
        except KeyboardInterrupt:
            pass
    return tags


def main(url: str, file: str) -> None:
    with Engine() as engine, open(file, "wb") as output:
        output.write(b"FLV\1\5\0\0\0\11\0\0\0\0")
        tags = record(engine, url, output)
        print(f"recorded {tags} tags")
    sys.exit(0 if tags else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url", metavar="URL", help="what to fetch: rtmp://HOST/APP/NAME")
    parser.add_argument("file", metavar="FILE.flv", help="where to write it")
    try:
        main(**vars(parser.parse_args()))
    except Error as error:
        sys.exit(f"{error.code.name}: {error}")
