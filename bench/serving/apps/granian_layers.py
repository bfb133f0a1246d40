"""The small model on bare Granian in one process, each layer a function by which a profiler knows it.

`python granian_layers.py PORT`
"""

import asyncio
import signal
import sys

import numpy
import orjson
import uvloop
from granian.constants import HTTPModes
from granian.server.embed import Server
from granian_small import HEADERS, NAMES, SESSION


def decode(body):
    return orjson.loads(body)


def tensor(document):
    return numpy.array(document["X"], dtype=numpy.float32)


def run(array):
    return SESSION.run(NAMES, {"X": array})


def encode(label, probabilities):
    answer = {"label": label, "probabilities": probabilities}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


async def app(scope, protocol):
    body = await protocol()
    answer = encode(*run(tensor(decode(body))))
    protocol.response_bytes(200, HEADERS, answer)


async def main() -> None:
    server = Server(app, port=int(sys.argv[1]), http=HTTPModes.http1, websockets=False, log_enabled=False)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
