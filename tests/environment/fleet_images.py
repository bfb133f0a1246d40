"""Small images for fleets: this machine's own Python, and a service that misbehaves when it is told to."""

from __future__ import annotations

import json
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtimes"))

from images import layer_of, make_image, python_tree, sys_python
from real_engines import forget as forget

from serinus.registry import Descriptor
from serinus.registry.layout import Layout

SERVER = """
import http.server, json, os, signal, sys, threading, time

arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
host = arguments.get("--host") or os.environ.get("SERINUS_HOST", "0.0.0.0")
port = int(arguments.get("--port") or os.environ.get("SERINUS_PORT", "5000"))
MODE = os.environ.get("MODE")

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/die":
            print("dying", flush=True)
            os._exit(3)
        if self.path == "/slow":
            time.sleep(0.5)
        status, document = 200, {"pid": os.getpid(), "word": WORD}
        document["access"] = os.environ.get("SERINUS_ACCESS_LOG")
        if "SERINUS_CONTRACT" in os.environ:
            document["contract"] = open(os.environ["SERINUS_CONTRACT"]).read()
        if self.path == "/readyz" and MODE == "stranger":
            status = 404
        if self.path == "/readyz" and MODE == "unfit":
            status, document = 503, {"detail": "example 1 is answered wrongly", "examples": "failed"}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *arguments):
        print(form % arguments, flush=True)

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

server = Server((host, port), Handler)

def ended(*_):
    print("ending", flush=True)
    threading.Thread(target=server.shutdown).start()

signal.signal(signal.SIGTERM, ended)
print("up", WORD, flush=True)
server.serve_forever(0.05)
server.server_close()
"""


def python_layer(path: Path) -> bytes:
    """A tar with this Python and the libraries it needs."""
    with tarfile.open(path, "w") as tar:
        python_tree(tar)
    return path.read_bytes()


def service(layout: Layout, python: bytes, word: str, *, stranger: bool = False) -> Descriptor:
    """An image whose service says a word; one that looks like Serinus' own, unless it is a stranger."""
    text = f"WORD = {word!r}\n{SERVER}".encode()
    code = layer_of({"srv/serinus/__init__.py": b"", "srv/serinus/serving.py": text})
    config: dict[str, Any] = {
        "Entrypoint": [sys_python(), "-S", "-B", "-m", "serinus.serving"],
        "WorkingDir": "/srv",
        "ExposedPorts": {"5000/tcp": {}},
    }
    if stranger:
        config |= {"Cmd": ["serve"], "Env": ["MODE=stranger"]}
    return make_image(layout, [python, code], config, tag=word)


def ask(address: tuple[str, int], path: str = "/predict") -> Any:
    """What a replica answers."""
    host, port = address
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as response:
        return json.loads(response.read())
