"""The same on Granian's embedded server, in one process as Serinus. `python granian_embedded.py PORT`."""

import asyncio
import signal
import sys

import uvloop
from granian.constants import HTTPModes
from granian.server.embed import Server
from granian_small import app


async def main() -> None:
    server = Server(app, port=int(sys.argv[1]), http=HTTPModes.http1, websockets=False, log_enabled=False)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()


uvloop.run(main())
