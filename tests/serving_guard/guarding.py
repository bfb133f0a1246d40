"""Help for the guard of serving speed: calls counted, and processor time beside that of bare Granian."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import serinus

sys.path.append(str(Path(__file__).resolve().parents[1] / "serving"))

OURS = str(Path(serinus.__file__).parent)
_HERTZ = os.sysconf("SC_CLK_TCK")


class Calls:
    """Counts the calls that our own code makes, of Python and of C, by file and function.

    What others call (the model runtime's Python, the tests' own fakes) is not counted: it depends on their
    version, and is not ours to make cheaper. A call of theirs that we make is one.
    """

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event not in ("call", "c_call") or not code.co_filename.startswith(OURS):
            return
        name = code.co_name if event == "call" else f"{code.co_name} -> {argument.__name__}"
        self.found[f"{code.co_filename[len(OURS) + 1 :]}: {name}"] += 1

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what this thread does until the end of the block."""
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    def per(self, requests: int) -> float:
        """Calls for each of so many requests."""
        return sum(self.found.values()) / requests

    def told(self, requests: int) -> str:
        """The calls of one request, the most first, for whoever exceeded a bound."""
        rows = (f"{count / requests:7.2f}  {name}" for name, count in self.found.most_common(40))
        return "\n".join([f"{self.per(requests):.2f} calls a request", *rows])


def processor(pid: int) -> float:
    """Seconds of processor time that a process has taken (``proc(5)``: utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _HERTZ


BARE = """
import asyncio, signal, sys
import numpy, onnxruntime, orjson, uvloop
from granian.constants import HTTPModes
from granian.server.embed import Server

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession("model.onnx", options)
names = [output.name for output in session.get_outputs()]
HEADERS = [("content-type", "application/json")]

async def app(scope, protocol):
    document = orjson.loads(await protocol())
    values = session.run(names, {"x": numpy.array(document["x"], dtype=numpy.float32)})
    answer = dict(zip(names, values))
    protocol.response_bytes(200, HEADERS, orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY))

async def main():
    server = Server(app, port=int(sys.argv[1]), http=HTTPModes.http1, websockets=False, log_enabled=False)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""
"""The least that a server of the model must do, on the same HTTP server and the same event loop."""

_LUA = """wrk.method = "POST"
wrk.body = %s
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency, requests)
  local e = summary.errors
  local bad = e.status + e.connect + e.read + e.write + e.timeout
  io.write(string.format("DONE %%d %%d\\n", summary.requests, bad))
end
"""


@contextmanager
def bare(folder: Path, port: int) -> Iterator[int]:
    """Bare Granian with the model in the folder, until the end of the block; its process."""
    (folder / "bare.py").write_text(BARE)
    process = subprocess.Popen([sys.executable, "bare.py", str(port)], cwd=folder)
    end = time.monotonic() + 30
    try:
        while not _listens(port):
            assert process.poll() is None, f"bare Granian ended with {process.returncode}"
            assert time.monotonic() < end, "bare Granian does not listen"
            time.sleep(0.02)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def load(folder: Path, port: int, body: str, seconds: int, connections: int) -> int:
    """Ask a server as fast as it answers; how many requests were answered.

    Raises:
        AssertionError: not all of them were answered well.
    """
    script = folder / "load.lua"
    script.write_text(_LUA % f"[=[{body}]=]")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/predict"], capture_output=True, text=True, check=True
    )
    requests, bad = map(int, done.stdout.rpartition("DONE ")[2].split())
    assert not bad, done.stdout
    return requests


def cost(pid: int, ask: Callable[[], int]) -> float:
    """Microseconds of processor time that a process takes for each request of a load."""
    before = processor(pid)
    requests = ask()
    return (processor(pid) - before) / requests * 1e6
