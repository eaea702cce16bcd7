#!/usr/bin/env python3
"""Serves RTMP and prints what happens, until Ctrl-C.

    serve.py [ADDRESS]                       default 127.0.0.1:1935; port 0 takes any free one

Publish with `ffmpeg -re -i FILE -c copy -f flv rtmp://127.0.0.1/live/demo`, play with `ffplay` on the same URL.
"""

import argparse
import asyncio
import contextlib
import signal
import sys

from streamengine import Engine, Error


async def print_events(engine: Engine) -> None:
    """Anything else that runs in this loop goes on meanwhile: the loop watches the engine's descriptor."""
    async for event in engine.events_async():
        print(event.json, flush=True)


async def main(address: str) -> None:
    with Engine() as engine:
        listener = engine.listen_rtmp(address)
        print("serving at port", listener.port, flush=True)
        events = asyncio.create_task(print_events(engine))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, events.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await events
        # Publishers and players are told, for two seconds at most.
        if not engine.stop(drain=2):
            print("some connections had to be cut", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("address", metavar="ADDRESS", nargs="?", default="127.0.0.1:1935", help="port 0 takes any free one")
    try:
        asyncio.run(main(**vars(parser.parse_args())))
    except Error as error:
        sys.exit(f"{error.code.name}: {error}")
