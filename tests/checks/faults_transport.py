"""Faults of the way there and back."""

from __future__ import annotations

from pathlib import Path

from faults import Fault, append, replace

_NO_CONTRACT = (
    '\n[contract]\nrequest = "request.json"\nresponse = "response.json"\nexamples = "examples.jsonl"\n'
)


def _without_contract(folder: Path) -> None:
    """The app without a contract: what it says reaches its callers as it stands."""
    replace(folder / "serinus.toml", _NO_CONTRACT, "")


def _moved(folder: Path) -> None:
    replace(folder / "app.py", '"/predict"', '"/v1/predict"')


def _moved_without_contract(folder: Path) -> None:
    _without_contract(folder)
    _moved(folder)


def _other_route(folder: Path) -> None:
    replace(folder / "serinus.toml", 'name = "glad"', 'name = "glad"\nroute = "/v1/predict"')
    _moved(folder)


def _other_port(folder: Path) -> None:
    replace(folder / "serinus.toml", 'name = "glad"', 'name = "glad"\nport = 5001')


def _silent(folder: Path) -> None:
    _without_contract(folder)
    replace(folder / "app.py", "request.get_json()", "request.get_json(silent=True, force=True) or []")


def _traceback(folder: Path) -> None:
    append(
        folder / "app.py",
        "\n\nimport traceback\n\n\n@app.errorhandler(Exception)\ndef failed(error):\n"
        "    return {'error': traceback.format_exc()}, 400\n",
    )


def _path(folder: Path) -> None:
    append(
        folder / "app.py",
        "\n\n@app.errorhandler(404)\ndef missing(error):\n"
        "    return {'error': f'there is no such route in {__file__}'}, 404\n",
    )


def _no_head(folder: Path) -> None:
    replace(folder / "app.py", "import Flask,", "import Flask, abort,")
    replace(
        folder / "app.py", "def about():\n", "def about():\n    request.method == 'HEAD' and abort(405)\n"
    )


def _method_fails(folder: Path) -> None:
    replace(folder / "app.py", '@app.post("/predict")', '@app.route("/predict", methods=["GET", "POST"])')
    replace(folder / "app.py", "request.get_json()", 'request.environ["wsgi.input"].read().decode()[0]')


def _second_request(folder: Path) -> None:
    replace(folder / "app.py", "app.json.compact = True\n", "app.json.compact = True\nseen = set()\n")
    replace(
        folder / "app.py",
        "    sentences = request.get_json()\n",
        '    sentences = request.get_json()\n    port = request.environ["REMOTE_PORT"]\n'
        '    if port != "0" and port in seen:\n        raise RuntimeError("this caller was here")\n'
        "    seen.add(port)\n",
    )


_FIRST_PIECE = '''"""A small ASGI app that reads the first piece of a body alone."""

import json


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    piece = await receive()
    try:
        positive = bool(json.loads(piece["body"]))
        status, body = 200, json.dumps({"positive": positive}).encode()
    except ValueError as error:
        status, body = 400, str(error).encode()
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
'''


def _first_piece(folder: Path) -> None:
    _without_contract(folder)
    (folder / "app.py").write_text(_FIRST_PIECE)


def _form(folder: Path) -> None:
    _without_contract(folder)
    replace(folder / "app.py", "request.get_json()", "request.json if request.is_json else [None]")


def _never_ready(folder: Path) -> None:
    replace(folder / "service.py", "def setup()", "def setup(waits=__import__('time').sleep)")
    replace(folder / "service.py", "    return ort.", "    waits(3600)\n    return ort.")
    append(folder / "serinus.toml", '\n[checks.transport]\nready = "8s"\n')


def _no_drain(folder: Path) -> None:
    replace(folder / "service.py", "import numpy", "import os\nimport signal\n\nimport numpy")
    replace(
        folder / "service.py",
        "def setup() -> ort.InferenceSession:\n",
        "async def setup() -> ort.InferenceSession:\n"
        "    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n",
    )


FAULTS = (
    Fault(
        "the route of an app has moved",
        "flask-app",
        "transport.route",
        "POST /predict with an example was answered 404",
        _moved,
    ),
    Fault(
        "a service that never becomes ready",
        "sentiment",
        "transport.ready",
        "answers 503: the model is being loaded",
        _never_ready,
    ),
    Fault(
        "the route of an app without a contract has moved",
        "flask-app",
        "transport.route",
        "POST /predict with an example was answered 404",
        _moved_without_contract,
    ),
    Fault(
        "another route than that of the version in charge",
        "flask-app",
        "transport.unchanged",
        "/v1/predict; the version in charge has /predict",
        _other_route,
        against=True,
    ),
    Fault(
        "another port than that of the version in charge",
        "flask-app",
        "transport.unchanged",
        "port 5001; the version in charge has 5000",
        _other_port,
        against=True,
    ),
    Fault(
        "an app that fails on GET where it expects POST",
        "flask-app",
        "transport.method",
        "GET /predict was answered 500",
        _method_fails,
    ),
    Fault(
        "an app that fails on other content types",
        "flask-app",
        "transport.content-type",
        "was answered 500",
        _form,
    ),
    Fault(
        "an app without a contract that answers 200 to malformed JSON",
        "flask-app",
        "transport.malformed",
        "an empty body at /predict was answered 200",
        _silent,
    ),
    Fault("a traceback in the body of an error", "flask-app", "transport.leaks", "a traceback", _traceback),
    Fault("a path of the image in an error", "flask-app", "transport.leaks", "the path /srv/app.py", _path),
    Fault("an app that refuses HEAD", "flask-app", "transport.head", "HEAD / was answered 405", _no_head),
    Fault(
        "an app that fails on the second request of a connection",
        "flask-app",
        "transport.keep-alive",
        "request 2 of a connection was answered 500",
        _second_request,
    ),
    Fault(
        "an app that reads the first chunk of a body alone",
        "flask-app",
        "transport.chunked",
        "in chunks of one byte was answered 400",
        _first_piece,
    ),
    Fault(
        "a service that ends at once on SIGTERM",
        "sentiment",
        "transport.drain",
        "requests in flight were lost",
        _no_drain,
    ),
)
