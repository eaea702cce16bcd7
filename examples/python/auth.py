#!/usr/bin/env python3
"""Serves RTMP; who may publish is decided on another thread, as where a database must be asked.

    auth.py [ADDRESS [KEY]]                  publish to rtmp://ADDRESS/live/NAME?key=KEY
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

from streamengine import AuthAction, AuthRequest, Engine, Error


def answer(request: AuthRequest, key: str) -> None:
    """Stands for something that takes its time."""
    right = key in parse_qs(request.info.query).get("key", [])
    print("granted" if right else "refused", "to", request.info.stream, "from", request.info.peer, flush=True)
    if right:
        request.allow("holder of the key")
    else:
        request.deny("ask the owner for a key")


def main(address: str = "127.0.0.1:1935", key: str = "secret") -> None:
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
            print("serving at port", listener.port, flush=True)
            try:
                for event in engine.events():
                    print(event.json, flush=True)
            except KeyboardInterrupt:
                pass


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Error as error:
        sys.exit(f"{error.code.name}: {error}")
