"""How fast a packaged service answers, beside the servers that its users have today.

    python bench/serving/bench.py [PART...] [--rounds 3] [--seconds 5] [--json FILE]

small     a small ONNX model, beside bare Granian, FastAPI, Flask, MLServer, LitServe and BentoML
typed     a typed function with pydantic types, beside FastAPI with the same
roberta   RoBERTa, sentences of mixed length, beside bare onnxruntime and the servers that batch
flask     a wrapped Flask app, beside gunicorn
workers   two workers beside one, and the memory of two with a large model
idle      memory of an idle replica, and the time from exec to the first answer
overload  three times as many requests as can be answered, and what comes after

Needs wrk, and a package index for the first run: the peers get virtual environments of their own, pinned in
bench/serving/peers. Where the machine has fewer cores than service and load need, they share them, and the
output says so. The figures come as Markdown; the exit code is 1 when a claim is missed, 2 when something
cannot be measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import batches
import closed
import idle
import overload
import workers
from closed import Settings
from peers import install
from report import Part, Table, machine
from stand import CannotMeasureError

ENVIRONMENTS = ("granian", "fastapi", "flask", "mlserver", "litserve", "bentoml", "tools")
PARTS: dict[str, Callable[[Settings], Part]] = {
    "small": closed.small_model,
    "typed": closed.typed_function,
    "roberta": batches.roberta,
    "flask": closed.flask_app,
    "workers": workers.two_workers,
    "idle": idle.idle_replica,
    "overload": overload.overloaded,
}

_TERMS = (
    "Serinus runs as `serinus build` packages it, in the sandbox, and as it is by default: contract checked "
    "on both sides, metrics and predictions counted, a line in the access log for each request. The peers' "
    "access logs are off. All answers are held to the expected ones before anything is measured."
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all unless told")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run of wrk")
    parser.add_argument("--connections", default="1,16,64")
    parser.add_argument(
        "--peers", default="", help="only peers with one of these in their name: Granian,Fast"
    )
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    return given


def main() -> int:
    given = arguments()
    connections = tuple(int(count) for count in given.connections.split(","))
    peers = tuple(filter(None, given.peers.split(",")))
    settings = Settings(given.rounds, given.seconds, connections, peers)
    figures: dict[str, Any] = {}
    missed = False
    try:
        install(ENVIRONMENTS)
        figures["machine"] = machine()
        print("# Serving\n", Table(("what", "which"), list(figures["machine"].items())), sep="\n")
        print(f"\n{_TERMS}", flush=True)
        for name in given.parts or PARTS:
            begin = time.monotonic()
            part = PARTS[name](settings)
            figures[name] = part.to_json() | {"seconds": round(time.monotonic() - begin, 1)}
            missed = missed or not all(claim.holds for claim in part.claims)
            print(f"\n{part}", flush=True)
    except CannotMeasureError as error:
        print(f"cannot measure: {error}", file=sys.stderr)
        return 2
    finally:
        if given.json:
            given.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
