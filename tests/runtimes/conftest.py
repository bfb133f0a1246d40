"""A tiny image made of this machine's own Python, and the engines' peculiarities."""

from __future__ import annotations

import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from images import Tiny, layer_of, make_image, python_tree, sys_python

from serinus.registry.layout import Layout

SERVER = """
import http.server, json, os, signal, sys, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            open("/etc/written", "w")
            written = True
        except OSError:
            written = False
        with open("/tmp/own", "w") as file:
            file.write("x")
        body = json.dumps({
            "path": self.path, "uid": os.getuid(), "gid": os.getgid(), "cwd": os.getcwd(),
            "written": written, "version": os.environ.get("SERINUS_VERSION"), "word": os.environ.get("WORD"),
            "leaked": os.environ.get("LEAKED"), "home": os.environ.get("HOME"),
        }).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

host, port = os.environ.get("SERINUS_HOST", "0.0.0.0"), int(os.environ.get("SERINUS_PORT", "5000"))
server = http.server.ThreadingHTTPServer((host, port), Handler)

def ended(*_):
    print("ending", flush=True)
    threading.Thread(target=server.shutdown).start()

signal.signal(signal.SIGTERM, ended)
print("listening", flush=True)
server.serve_forever()
sys.exit(7)
"""


@pytest.fixture(scope="session")
def python_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar with this Python and the libraries it needs."""
    path = tmp_path_factory.mktemp("python") / "layer.tar"
    with tarfile.open(path, "w") as tar:
        python_tree(tar)
    return path


@pytest.fixture(scope="session")
def tiny(python_layer: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """An image that answers every GET with what it sees around itself."""
    layout = Layout(tmp_path_factory.mktemp("layout"))
    code = layer_of({"srv/server.py": SERVER.encode(), "etc/passwd": b"bird:x:1234:4321::/nest:/bin/sh\n"})
    config = {
        "Entrypoint": [sys_python(), "-I", "-S"],
        "Cmd": ["/srv/server.py"],
        "Env": ["WORD=tweet"],
        "WorkingDir": "/srv",
        "User": "bird",
        "ExposedPorts": {"5000/tcp": {}},
    }
    image = make_image(layout, [python_layer.read_bytes(), code], config)
    expected = {
        **{"path": "/hello", "uid": 1234, "gid": 4321, "cwd": "/srv", "written": False},
        **{"version": image.digest, "word": "tweet", "leaked": None, "home": "/nest"},
    }
    return Tiny(layout, image, expected)


@pytest.fixture
def port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Root file systems of this test run."""
    return tmp_path_factory.mktemp("cache") / "rootfs"
