#!/usr/bin/env python3
"""Plays an FLV file again and again to players over HTTP, and prints who comes by which door, until Ctrl-C.

    serve_http.py FILE.flv [ADDRESS [CERT KEY]]  default 127.0.0.1:8080; with certificate and key (PEM) over HTTPS

Play with `ffplay http://127.0.0.1:8080/live/loop.flv`; players in pages take that URL, or the same with `ws://`.
"""

import argparse
import sys
from typing import Optional

from streamengine import AuthAction, AuthRequest, Door, Engine, Error, EventType

DOORS = {Door.RTMP: "RTMP", Door.HTTP_FLV: "HTTP", Door.HTTP_MP4: "HTTP", Door.WEBSOCKET: "WebSocket", Door.HLS: "HLS"}


def say(line: str) -> None:
    """Prints on any thread: text and line end in one piece, which `print` alone writes apart."""
    print(line + "\n", end="", flush=True)


def on_request(request: AuthRequest) -> None:
    """Runs on the engine's callback thread. Whom a page asks for is told too: a site may want its own pages only."""
    info = request.info
    if info.action != AuthAction.PLAY:
        request.deny("this program publishes itself")
        return
    door = DOORS.get(info.door, "another door")
    say(f"{info.peer} asks for {info.stream} by {door}, on a page of {info.origin or 'no site'}")
    request.allow()


def main(file: str, address: str, cert: Optional[str], key: Optional[str]) -> None:
    with Engine() as engine:
        engine.set_auth(on_request)
        engine.publish_file(file, "live/loop")
        listener = engine.listen_http(address, cert, key)
        say(f"serving at port {listener.port}")
        try:
            for event in engine.events():
                if event.type in (EventType.PLAY_STARTED, EventType.PLAY_ENDED):
                    say(event.json)
        except KeyboardInterrupt:
            pass
        engine.stop(drain=2)  # players get the end of the stream


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", metavar="FILE.flv")
    parser.add_argument("address", metavar="ADDRESS", nargs="?", default="127.0.0.1:8080", help="port 0 takes any free one")
    parser.add_argument("cert", metavar="CERT", nargs="?", help="with KEY: serve over HTTPS; PEM files")
    parser.add_argument("key", metavar="KEY", nargs="?")
    arguments = parser.parse_args()
    if arguments.cert and not arguments.key:
        parser.error("CERT and KEY belong together")
    try:
        main(**vars(arguments))
    except Error as error:
        sys.exit(f"{error.code.name}: {error}")
