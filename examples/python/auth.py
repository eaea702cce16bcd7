#!/usr/bin/env python3
"""Serves RTMP; who may publish is decided on another thread, as where a database must be asked.

    auth.py [ADDRESS [KEY]]                  publish to rtmp://ADDRESS/live/NAME?key=KEY
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

from streamengine import AuthAction, AuthRequest, Engine, Error


def say(line: str) -> None:
    """Prints on any thread: text and line end in one piece, which `print` alone writes apart."""
    print(line + "\n", end="", flush=True)


def answer(request: AuthRequest, key: str) -> None:
    """Stands for something that takes its time."""
    right = key in parse_qs(request.info.query).get("key", [])
    say(f"{'granted' if right else 'refused'} to {request.info.stream} from {request.info.peer}")
    if right:
        request.allow("holder of the key")
    else:
        request.deny("ask the owner for a key")


def main(address: str, key: str) -> None:
    with ThreadPoolExecutor(max_workers=1) as desk:

        def on_request(request: AuthRequest) -> None:
            """Runs on the engine's callback thread: it must be quick, so it only decides what is clear."""
            if request.info.action == AuthAction.PLAY:
                request.allow()
            else:
                desk.submit(answer, request, key)

        with Engine() as engine:
            engine.set_auth(on_request)
            listener = engine.listen_rtmp(address)
            say(f"serving at port {listener.port}")
            try:
                for event in engine.events():
                    say(event.json)
            except KeyboardInterrupt:
                pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("address", metavar="ADDRESS", nargs="?", default="127.0.0.1:1935", help="port 0 takes any free one")
    parser.add_argument("key", metavar="KEY", nargs="?", default="secret", help="what publishers have to know")
    try:
        main(**vars(parser.parse_args()))
    except Error as error:
        sys.exit(f"{error.code.name}: {error}")
